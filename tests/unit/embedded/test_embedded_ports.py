import socket

from goalkeeper.embedded.ports import Ports, is_free


def test_a_port_in_use_is_replaced_by_a_free_one() -> None:
    """Only the taken one changes."""
    wanted = Ports.free()
    with socket.socket() as other:
        other.bind(("127.0.0.1", wanted.vault))
        other.listen()
        chosen = Ports.choose(wanted.model_dump())
        assert not is_free(wanted.vault)
    assert chosen.vault != wanted.vault
    assert chosen.model_copy(update={"vault": wanted.vault}) == wanted


def test_no_port_is_chosen_twice() -> None:
    """Two services that want the same port get two."""
    one = Ports.free().vault
    chosen = Ports.choose({name: one for name in Ports.model_fields})
    assert len(set(chosen.model_dump().values())) == len(Ports.model_fields)


def test_free_ports_lie_below_those_of_outgoing_connections() -> None:
    """Otherwise a server that dies could find its port taken by somebody's client socket."""
    assert all(port < 32_768 for port in Ports.free().model_dump().values())


def test_a_port_is_free_again_right_after_its_server_has_ended() -> None:
    """Connections in TIME_WAIT do not count as a server."""
    port = Ports.free().vault
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind(("127.0.0.1", port))
        server.listen()
        with socket.create_connection(("127.0.0.1", port)):
            accepted, _ = server.accept()
            accepted.close()
    assert is_free(port)
