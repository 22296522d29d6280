// A server that Segue reloads without losing a request; docs/node.md explains it.
"use strict";
const http = require("node:http");
const net = require("node:net");

let draining = false;
const server = http.createServer((request, response) => {
  if (draining) response.setHeader("Connection", "close");
  response.end('{"message": "hello"}\n');
});
server.listen(process.env.LISTEN_FDS ? { fd: 3 } : 8000);

process.on("SIGTERM", () => {
  draining = true;
  // Not http's own close(), which would also cut kept connections whose next request is on its way.
  net.Server.prototype.close.call(server);
  setTimeout(() => process.exit(), 25_000).unref();
});
