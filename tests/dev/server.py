"""The app of compare.py: it answers with the version that it was built as, takes its socket where it is given one, and drains."""

import http.server
import os
import pathlib
import signal
import socket
import sys
import threading
import time

VERSION = pathlib.Path(__file__).with_name("version").read_text().strip().encode()

# How long an answer takes, in seconds: long enough that some are under way whenever an app is stopped.
WORK = 0.02


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        time.sleep(WORK)
        self.send_response(200)
        self.send_header("Content-Length", str(len(VERSION)))
        self.end_headers()
        self.wfile.write(VERSION)

    def log_message(self, *words):
        pass


class Server(http.server.ThreadingHTTPServer):
    # Closing it waits for the answers that are under way.
    daemon_threads = False
    request_queue_size = 128


server = Server(("127.0.0.1", int(sys.argv[1])), Handler, bind_and_activate=False)
if os.environ.get("LISTEN_FDS"):
    server.socket.close()
    # Those of watchexec begin elsewhere, as the crate listenfd has it.
    server.socket = socket.socket(fileno=int(os.environ.get("LISTEN_FDS_FIRST_FD", 3)))
else:
    server.server_bind()
    server.server_activate()
signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
if os.environ.get("SAYS_READY") and os.environ.get("NOTIFY_SOCKET"):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.sendto(b"READY=1", os.environ["NOTIFY_SOCKET"])
server.serve_forever(poll_interval=0.01)
server.server_close()
