"""Videos for tests, with the time stamps, the shape of pixels and the display matrix that a test asks for."""

from fractions import Fraction

import av
import numpy as np

MILLISECOND = Fraction(1, 1000)


def grey_pictures(count, size=(32, 48)):
    """Flat pictures of rising brightness, far enough apart to be told apart after any codec."""
    return [np.full((*size, 3), 10 + 230 * index // max(1, count - 1), np.uint8) for index in range(count)]


def write_stamped(path, pictures, stamps, *, rate=25, codec="libx264", options=None, aspect=None):
    """Encode pictures that are shown at `stamps`, in milliseconds."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, options={"qp": "0"} | (options or {}))
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.time_base = stream.codec_context.time_base = MILLISECOND
        if aspect:
            stream.codec_context.sample_aspect_ratio = aspect
        for stamp, picture in zip(stamps, pictures, strict=True):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = stamp, MILLISECOND
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def copy_packets(path, source, *, first=0, stamp=lambda own: own, hidden=()):
    """Copy a video's packets from number `first` on, with other stamps; those of `hidden`, of VP8, show nothing."""
    with av.open(str(source)) as old, av.open(str(path), "w") as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        packets = [packet for packet in old.demux(video=0) if packet.size][first:]
        for number, packet in enumerate(packets):
            if number in hidden:
                data = bytearray(bytes(packet))
                data[0] &= ~0x10
                packet.update(bytes(data))
            packet.pts, packet.dts = stamp(packet.pts), stamp(packet.dts)
            packet.stream = stream
            new.mux(packet)
    return path


def levels(pictures):
    """The brightness of each picture."""
    return [round(float(picture.mean())) for picture in pictures]


def lay(path, matrix):
    """Put the display matrix (a, b, c, d) into an mp4: x' = a x + c y, y' = b x + d y, y downwards."""
    a, b, c, d = (int(value * 65536).to_bytes(4, "big", signed=True) for value in matrix)
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 44
    data[at : at + 20] = a + b + bytes(4) + c + d
    path.write_bytes(data)
    return path
