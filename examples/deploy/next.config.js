// Next.js in front of taskws: `npx next dev`, with `build/server` on its port 8000. Rewrites carry
// WebSockets too. In production let nginx or HAProxy send /api/v1/ws/ to taskws, past Next.

module.exports = {
    async rewrites() {
        return {
            // Before pages and files: an app/api/[...all] of yours would take the path.
            beforeFiles: [
                {
                    source: '/api/v1/ws/:path*',
                    destination: 'http://127.0.0.1:8000/api/v1/ws/:path*', // not localhost: ::1
                    // With a basePath of yours: basePath: false, if the page asks outside of it.
                },
            ],
        };
    },
};
