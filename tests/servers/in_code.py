"""Servers that take a socket in code. Each function has the one line that counts.

usage: in_code.py SERVER
"""

import asyncio
import os
import signal
import socket
import sys

from wsgi import BIG, app

PING = b'{"message": "in code"}'


def take():
    """The socket at fd 3, under any service manager that speaks the protocol of systemd."""
    return socket.socket(fileno=3)


def body_of(path):
    return BIG if path == "/big" else PING


def aiohttp():
    from aiohttp import web

    async def answer(request):
        return web.Response(body=body_of(request.path), content_type="application/json")

    site = web.Application()
    site.router.add_get("/{any:.*}", answer)
    web.run_app(site, sock=take(), print=None, keepalive_timeout=float(os.environ.get("KEEP_ALIVE", "75")))


def tornado():
    import tornado.httpserver
    import tornado.web

    class Answer(tornado.web.RequestHandler):
        def get(self):
            self.finish(body_of(self.request.path))

    async def serve():
        server = tornado.httpserver.HTTPServer(tornado.web.Application([(".*", Answer)]))
        server.add_socket(take())
        stop = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
        await stop.wait()
        server.stop()
        await server.close_all_connections()

    asyncio.run(serve())


def waitress():
    import waitress

    waitress.serve(app, sockets=[take()], clear_untrusted_proxy_headers=True)


def cheroot():
    from cheroot import wsgi

    import os

    # cheroot believes LISTEN_PID of nobody, but looks whether it is there.
    os.environ.setdefault("LISTEN_PID", str(os.getpid()))
    server = wsgi.Server(("127.0.0.1", 0), app)
    signal.signal(signal.SIGTERM, lambda *_: setattr(server, "interrupt", SystemExit(0)))
    server.start()


def gevent():
    from gevent import monkey

    monkey.patch_all()
    import gevent as green
    from gevent.pywsgi import WSGIServer
    from gevent.socket import socket as green_socket

    listener = green_socket(fileno=3)
    server = WSGIServer(listener, app, log=None)
    green.signal_handler(signal.SIGTERM, server.stop)
    server.serve_forever()


def sanic():
    from sanic import Sanic, raw

    site = Sanic("site")

    @site.get("/<path:path>")
    async def answer(request, path):
        return raw(body_of("/" + path), content_type="application/json")

    # One process: with workers of its own Sanic would bind again in each of them.
    site.run(sock=take(), single_process=True, motd=False, access_log=False)


def werkzeug():
    from werkzeug.serving import make_server

    server = make_server("127.0.0.1", 0, app, threaded=True, fd=3)

    def stop(*_):
        import threading

        threading.Thread(target=server.shutdown).start()

    signal.signal(signal.SIGTERM, stop)
    server.serve_forever()


def twisted(family=socket.AF_INET):
    from twisted.internet import reactor
    from twisted.web import resource, server

    class Answer(resource.Resource):
        isLeaf = True

        def render_GET(self, request):
            return body_of(request.path.decode())

    listener = take()
    listener.setblocking(False)
    port = reactor.adoptStreamPort(listener.fileno(), family, server.Site(Answer()))
    if family == socket.AF_UNIX:
        # Twisted does so itself for TCP alone: else it shuts the socket down for all who have it.
        port._shouldShutdown = False
    reactor.run()


def twisted_at_a_path():
    twisted(socket.AF_UNIX)


def einhorn():
    """A worker with Baseplate's client of einhorn, which is read by itself: its package wants much more."""
    import importlib.metadata
    import importlib.util

    file = importlib.metadata.distribution("baseplate").locate_file("baseplate/server/einhorn.py")
    spec = importlib.util.spec_from_file_location("einhorn", file)
    client = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(client)

    from werkzeug.serving import make_server

    listener = client.get_socket()
    server = make_server("127.0.0.1", 0, app, threaded=True, fd=listener.fileno())
    signal.signal(signal.SIGUSR2, lambda *_: sys.exit())
    client.ack_startup()
    server.serve_forever()


def http_server():
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

    class Answer(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            body = body_of(self.path)
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer, bind_and_activate=False)
    server.socket.close()
    server.socket = take()

    def stop(*_):
        import threading

        threading.Thread(target=server.shutdown).start()

    signal.signal(signal.SIGTERM, stop)
    server.serve_forever()


globals()[sys.argv[1]]()
