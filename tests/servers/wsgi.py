"""A WSGI app: /ping is short, /big does not fit into the buffers of a socket."""

BIG = b"x" * (16 << 20)


def app(environ, start_response):
    body = BIG if environ["PATH_INFO"] == "/big" else b'{"message": "wsgi"}'
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]


application = app
