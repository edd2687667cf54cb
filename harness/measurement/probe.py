"""The process that is asked which devices JAX has: `python -m harness.measurement.probe`."""

from harness.contract import wire
from harness.contract.messages import AskDevices, Devices


def respond(_: AskDevices, __: bytes) -> tuple[Devices, bytes]:
    """Platform and models of all devices."""
    import jax  # noqa: PLC0415  (where nothing else of the harness imports it)

    found = jax.devices()
    return Devices(found[0].platform, [device.device_kind for device in found]), b""


def main() -> None:
    """Answer over the channel that it was started with."""
    wire.serve(AskDevices, respond)


if __name__ == "__main__":
    main()
