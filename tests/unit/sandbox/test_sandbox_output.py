import asyncio

from sandbox.output import LINE_BYTES, TAIL_BYTES, Output


async def collected(chunks: list[bytes], limit: int = 1_000_000) -> tuple[list[str], Output]:
    """The lines that come out when a thread feeds the chunks in."""
    lines: list[str] = []
    output = Output(lines.append, limit)

    def read() -> None:
        for chunk in chunks:
            output.feed(chunk)
        output.finish()

    await asyncio.to_thread(read)
    return lines, output


async def test_lines_are_passed_on_whole_however_they_were_cut() -> None:
    """A chunk may end anywhere, inside a character too."""
    lines, _ = await collected([b"one\ntw", "ö".encode()[:1], "ö".encode()[1:] + b"\n\nlast"])
    assert lines == ["one", "twö", "", "last"]


async def test_a_line_without_end_is_passed_on_in_parts() -> None:
    """No line is kept waiting for a newline that may never come."""
    lines, _ = await collected([b"x" * (LINE_BYTES * 2 + 5)])
    assert "".join(lines) == "x" * (LINE_BYTES * 2 + 5)
    assert max(map(len, lines)) == LINE_BYTES


async def test_output_beyond_the_limit_is_dropped_and_said_so_once() -> None:
    """Whoever reads the log sees that it is not all."""
    lines, output = await collected([b"12345\n"] * 10, limit=20)
    assert lines == ["12345"] * 3 + ["[no more than 20 bytes of output are kept]"]
    assert output.truncated


async def test_the_tail_is_the_end_even_beyond_the_limit() -> None:
    """The last lines are what people look at."""
    _, output = await collected([b"%d\n" % n for n in range(5000)], limit=20)
    assert output.tail.endswith("\n4998\n4999\n")
    assert len(output.tail) <= TAIL_BYTES
    assert output.tail.partition("\n")[0] in map(str, range(5000))
