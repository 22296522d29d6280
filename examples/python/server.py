"""A server that Segue reloads without losing a request; docs/python.md explains it."""

import os
import signal
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        body = b'{"message": "hello"}\n'
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = False  # server_close() waits for the answers that are under way.


def stop_at_sigterm(server):
    signal.sigwait([signal.SIGTERM])
    server.shutdown()


def main():
    handed_over = os.environ.get("LISTEN_PID") == str(os.getpid())
    server = Server(("127.0.0.1", 8000), Handler, bind_and_activate=not handed_over)
    if handed_over:
        server.socket.close()
        server.socket = socket.socket(fileno=3)
    server.socket.setblocking(False)  # Another generation may have been quicker to accept.
    # By no handler: one that starts a thread hangs for ever if it interrupts the start of another.
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    threading.Thread(target=stop_at_sigterm, args=[server], daemon=True).start()
    if path := os.environ.get("NOTIFY_SOCKET"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.sendto(b"READY=1", path)
    server.serve_forever()
    server.server_close()


main()
