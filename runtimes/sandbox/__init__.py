"""Driver `sandbox`."""

from clowdy.runtimes.sandbox.driver import SandboxDriver

__all__ = ["SandboxDriver"]
