"""A relay between sender and receiver that records, damages and cuts what passes."""

import itertools
import selectors
import socket
import struct
import threading


class Proxy:
    """Passes connections on to `target` and keeps every byte of both directions.

    `tamper(connection, before, piece)`, where given, sees what the sender says on each connection,
    counted from 0 (control), and how many bytes of it came before; what it returns is passed on.
    None cuts the connection. `tamper_back` sees what the receiver says, in the same way."""

    def __init__(self, target, tamper=None, tamper_back=None):
        host, port = target.rsplit(":", 1)
        self.target = (host, int(port))
        self.captured = bytearray()
        self.tamper = tamper
        self.tamper_back = tamper_back
        self.lock = threading.Lock()
        self.server = socket.create_server(("127.0.0.1", 0))
        self.address = "127.0.0.1:%d" % self.server.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        for number in itertools.count():
            try:
                near, _ = self.server.accept()
            except OSError:
                return
            try:
                far = socket.create_connection(self.target)
            except OSError:
                self.cut(near)  # nobody is there
                continue
            threading.Thread(target=self.pump, args=(number, near, far), daemon=True).start()

    def pump(self, number, near, far):
        other = {near: far, far: near}
        said = {near: 0, far: 0}
        tamper = {near: self.tamper, far: self.tamper_back}
        with selectors.DefaultSelector() as waiting:
            for one in other:
                waiting.register(one, selectors.EVENT_READ)
            while waiting.get_map():
                for key, _ in waiting.select():
                    piece = b""
                    try:
                        piece = key.fileobj.recv(1 << 16)
                    except OSError:
                        pass
                    if piece and tamper[key.fileobj]:
                        before = said[key.fileobj]
                        said[key.fileobj] += len(piece)
                        piece = tamper[key.fileobj](number, before, piece)
                        if piece is None:
                            return self.cut(near, far)
                    if not piece:
                        waiting.unregister(key.fileobj)
                        try:
                            other[key.fileobj].shutdown(socket.SHUT_WR)
                        except OSError:
                            pass
                        continue
                    with self.lock:
                        self.captured += piece
                    try:
                        other[key.fileobj].sendall(piece)
                    except OSError:
                        return self.cut(near, far)
        near.close()
        far.close()
        return None

    @staticmethod
    def cut(*connections):
        """With a reset, so that both sides learn it at once."""
        for one in connections:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            one.close()
