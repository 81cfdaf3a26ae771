"""Two hosts with a wire between them, for modes.sh: network namespaces, and tbf for the rate."""

import os
import subprocess

SENDER, RECEIVER = 0, 1
ADDRESSES = ("10.77.0.1", "10.77.0.2")


def rate_bits(text):
    """100M, 2.5G: bits a second; None if unlimited."""
    if text == "unlimited":
        return None
    factor = {"M": 10**6, "G": 10**9}.get(text[-1:])
    try:
        bits = float(text[:-1]) * factor
    except (TypeError, ValueError):
        bits = 0
    if not bits >= 10**6:
        raise ValueError(f"'{text}': a rate is 100M, 2.5G (bits a second, 1M or more) or unlimited")
    return int(bits)


def call(*words):
    done = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(words)}: exit {done.returncode}: {done.stdout.decode()}")


class Link:
    """Use in a with statement; its namespaces are deleted at the end."""

    def __init__(self):
        tag = f"vmm{os.getpid()}"
        self.hosts = (f"{tag}a", f"{tag}b")
        self.ends = (f"{tag}x"[-15:], f"{tag}y"[-15:])
        self.made = []

    def __enter__(self):
        try:
            for host in self.hosts:
                call("ip", "netns", "add", host)
                self.made.append(host)
            call("ip", "link", "add", self.ends[0], "netns", self.hosts[0], "type", "veth",
                 "peer", "name", self.ends[1], "netns", self.hosts[1])
            for host, end, address in zip(self.hosts, self.ends, ADDRESSES):
                call("ip", "-n", host, "address", "add", f"{address}/24", "dev", end)
                call("ip", "-n", host, "link", "set", end, "up")
                call("ip", "-n", host, "link", "set", "lo", "up")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for host in self.made:
            subprocess.run(["ip", "netns", "delete", host], stdin=subprocess.DEVNULL, check=False)
        self.made = []

    def on(self, host):
        return ["ip", "netns", "exec", self.hosts[host]]

    def set_rate(self, bits):
        """Both directions. The bucket holds 4 ms, so that a timer that is late loses nothing."""
        for host, end in zip(self.hosts, self.ends):
            subprocess.run(["tc", "-n", host, "qdisc", "delete", "dev", end, "root"], check=False,
                           stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            if bits is not None:
                burst = max(bits // 8 // 250, 256 * 1024)
                call("tc", "-n", host, "qdisc", "add", "dev", end, "root", "tbf",
                     "rate", f"{bits}bit", "burst", str(burst), "latency", "20ms")
