// Vite's dev server in front of taskws: `npx vite`, with `build/server` on its port 8000.
//
// The page and the endpoint have one origin, as behind a real proxy, so the page says
// connectTasks({ url: '/api/v1/ws/tasks/2', ... }) and no host.

import { createLogger, defineConfig } from 'vite';

// A tab that is closed may reset its socket, and Vite prints that as `ws proxy error` and `ws proxy
// socket error`, with ECONNRESET. It is no fault of anybody's. A reset by the server would be one:
// it is still printed, as is a server that is not there (ECONNREFUSED).
const logger = createLogger();
const { error } = logger;
logger.error = (text, about) => about?.error?.ofTheBrowser || error(text, about);

const markResets = (proxy) => {
    proxy.on('proxyReqWs', (toServer, request, socket) => {
        // First of the listeners: all of them, Vite's too, are given this same error.
        socket.prependListener('error', (reset) => { reset.ofTheBrowser = true; });
    });
};

export default defineConfig({
    customLogger: logger,
    server: {
        proxy: {
            // The key is where the page's path begins, whatever `base` is. Only where the page asks
            // below its base is the key /base/api/v1/ws, and then
            // rewrite: (path) => path.slice('/base'.length)
            '/api/v1/ws': {
                target: 'http://127.0.0.1:8000', // not localhost, which may be ::1 first
                ws: true, // or an upgrade is left lying, and the browser waits
                // With --cookie the server wants an Origin that equals Host: leave Host alone.
                changeOrigin: false,
                configure: markResets,
            },
        },
    },
});
