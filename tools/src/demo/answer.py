"""The demo's web server: answers every request with who it is and whom it sees asking."""

import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        # Both addresses are the kernel's, not ours: they show what the balancer made of the packets.
        own = "%s:%d" % self.connection.getsockname()
        peer = "%s:%d" % self.client_address
        body = f"{sys.argv[1]} at {own}, asked by {peer}\n".encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format, *args):
        pass


server = ThreadingHTTPServer(("0.0.0.0", 8000), Answer)
print("ready", flush=True)
server.serve_forever()
