"""A capture of the wire shows none of the disk's bytes, unless both sides asked for that."""

import selectors
import socket
import threading

import support

MARKER = b"THIS-IS-SOMEBODYS-COMPANY-" * 64


class RecordingProxy:
    """Passes connections on to `target` and keeps every byte of both directions."""

    def __init__(self, target):
        host, port = target.rsplit(":", 1)
        self.target = (host, int(port))
        self.captured = bytearray()
        self.lock = threading.Lock()
        self.server = socket.create_server(("127.0.0.1", 0))
        self.address = "127.0.0.1:%d" % self.server.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                near, _ = self.server.accept()
            except OSError:
                return
            far = socket.create_connection(self.target)
            threading.Thread(target=self.pump, args=(near, far), daemon=True).start()

    def pump(self, near, far):
        other = {near: far, far: near}
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
                        pass
        near.close()
        far.close()


class Capture(support.DiskTest):
    def marked_disk(self):
        raw = self.folder / "marked.raw"
        with open(raw, "wb") as file:
            for i in range(8):
                file.seek(i << 20)
                file.write(MARKER)
            file.truncate(32 << 20)
        disk = self.folder / "marked.vhdx"
        made = support.run("import", raw, disk)
        self.assertEqual(made.code, 0, made)
        return disk

    def capture_of_a_move(self, *options):
        disk = self.marked_disk()
        with self.receiver(*options) as receiver:
            proxy = RecordingProxy(receiver.address)
            outcome = support.run("send", disk, proxy.address, "--key-file", self.key_file,
                                  *options)
            proxy.server.close()
        self.assertEqual(outcome.code, 0, outcome)
        self.assert_complete(disk, self.arrivals / "marked.vhdx")
        return bytes(proxy.captured)

    def test_tls_shows_nothing(self):
        captured = self.capture_of_a_move()
        self.assertGreater(len(captured), 1 << 20)
        self.assertNotIn(MARKER[:24], captured)
        self.assertNotIn(self.key_file.read_bytes()[13:77], captured)
        self.assertNotIn(b"marked.vhdx", captured)

    def test_plaintext_data_shows_data_and_never_control(self):
        captured = self.capture_of_a_move("--plaintext-data")
        self.assertIn(MARKER[:24], captured)
        self.assertNotIn(b"marked.vhdx", captured)

    def test_plaintext_data_needs_both_sides(self):
        disk = self.marked_disk()
        with self.receiver() as receiver:
            refused = self.send(disk, receiver, "--plaintext-data")
        self.assertEqual(refused.code, 4, refused)
        self.assertEqual(self.names(), [])


if __name__ == "__main__":
    support.main()
