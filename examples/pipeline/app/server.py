"""The app of the pipeline: it takes its socket from Segue and ends its answers before it goes (docs/python.md)."""

import json
import os
import signal
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

VERSION = 1


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        message = f"{os.environ['GREETING']}, version {VERSION}"
        body = json.dumps({"message": message}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = False  # server_close() waits for the answers that are under way.


def stop_at_sigterm():
    signal.sigwait([signal.SIGTERM])
    server.shutdown()


server = Server(None, Handler, bind_and_activate=False)
server.socket.close()
server.socket = socket.socket(fileno=3)
server.socket.setblocking(False)  # Another generation may have been quicker to accept.
# By no handler: one that starts a thread hangs for ever if it interrupts the start of another.
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
threading.Thread(target=stop_at_sigterm, daemon=True).start()
with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
    manager.sendto(b"READY=1", os.environ["NOTIFY_SOCKET"])
server.serve_forever()
server.server_close()
