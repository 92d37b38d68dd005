// An echo on Node's `ws`, for make bench PEERS=1. It says where it listens.
import { createRequire } from 'node:module';

const require = createRequire(new URL('../../../build/node/', import.meta.url));
const { WebSocketServer } = require('ws');

const server = new WebSocketServer({ host: '127.0.0.1', port: 0, backlog: 4096,
    perMessageDeflate: false });
server.on('connection', (socket) => {
    socket.on('error', () => {});
    socket.on('message', (data, isBinary) => socket.send(data, { binary: isBinary }));
});
server.on('listening', () => {
    console.log(`listening on http://127.0.0.1:${server.address().port}`);
});
