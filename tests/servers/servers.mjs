// Servers of npm. Each function has the one line that takes the socket at fd 3.
//
// usage: servers.mjs SERVER [PACKAGES]      PACKAGES: the folder in which npm has installed them
import http from "node:http";
import { createRequire } from "node:module";
import path from "node:path";

const [, , name, packages] = process.argv;
const load = packages && createRequire(path.join(packages, "package.json"));
const BIG = Buffer.alloc(16 << 20, "x");
const PING = '{"message": "node"}';

function bodyOf(url) {
    return url === "/big" ? BIG : PING;
}

function answer(request, response) {
    const body = bodyOf(request.url);
    response.writeHead(200, { "content-type": "application/json", "content-length": body.length });
    response.end(body);
}

// What the manual of node:http recommends: no new connection, those that are there are finished.
function drain(server) {
    process.on("SIGTERM", () => server.close(() => process.exit(0)));
}

const servers = {
    http() {
        drain(http.createServer(answer).listen({ fd: 3 }));
    },
    "http-no-handler"() {
        const server = http.createServer(answer).listen({ fd: 3 });
        if (process.env.KEEP_ALIVE) {
            server.keepAliveTimeout = 1000 * process.env.KEEP_ALIVE;
        }
    },
    express() {
        const app = load("express")();
        app.get("/ping", (request, response) => response.type("json").send(PING));
        app.get("/big", (request, response) => response.send(BIG));
        drain(app.listen({ fd: 3 }));
    },
    fastify() {
        const app = load("fastify")();
        app.get("/*", (request, reply) => reply.send(bodyOf(request.url)));
        app.listen({ fd: 3 });
        process.on("SIGTERM", () => app.close().then(() => process.exit(0)));
    },
    koa() {
        const Koa = load("koa");
        const app = new (Koa.default ?? Koa)();
        app.use((context) => {
            context.body = bodyOf(context.url);
        });
        drain(app.listen({ fd: 3 }));
    },
    async hapi() {
        // A listener of one's own: hapi is told to leave it alone, and starts nothing but its handlers.
        const listener = http.createServer();
        const app = load("@hapi/hapi").server({ listener, autoListen: false });
        app.route({ method: "GET", path: "/{any*}", handler: (request) => bodyOf(request.path) });
        await app.start();
        listener.listen({ fd: 3 });
        process.on("SIGTERM", () => listener.close(() => process.exit(0)));
    },
    polka() {
        const app = load("polka")().get("/*", answer);
        app.listen({ fd: 3 });
        drain(app.server);
    },
    restana() {
        const server = http.createServer();
        const app = load("restana")({ server });
        app.get("/*", answer);
        server.listen({ fd: 3 });
        drain(server);
    },
    async hono() {
        const { createAdaptorServer } = load("@hono/node-server");
        const { Hono } = load("hono");
        const app = new Hono();
        app.get("/ping", (context) => context.body(PING));
        app.get("/big", (context) => context.body(BIG));
        drain(createAdaptorServer(app).listen({ fd: 3 }));
    },
};

await servers[name]();
