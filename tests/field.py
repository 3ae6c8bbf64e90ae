"""A run of the field kit on a made-up board, on which everything held, for tests to change."""

from pomt_trt.core.field_kit import records
from pomt_trt.core.field_kit.records import Built, Collected, Gate, Kit, KitStep, Moment, Ratio, Timed, Watched
from pomt_trt.core.records import DeviceSpec, Engine, Finding, LatencyProfile

DEVICE = DeviceSpec("tensorrt-8.2.1.8-tx2", "aarch64", "tensorrt", "8.2.1.8", "Tegra X2", 6, 8 << 30)
FREE = {"gpu": (114.0, 114.0, 1122.0), "cpu0": (806.0, 345.0, 2035.0), "emc": (665.0, 40.0, 1866.0)}
LOCKED = {"gpu": (1122.0, 1122.0, 1122.0), "cpu0": (2035.0, 2035.0, 2035.0), "emc": (1866.0, 40.0, 1866.0)}


def moment(clocks, alarms=0):
    return Moment(clocks, {"GPU-therm": 38.5}, {"VDD_IN": 3.2}, {"emc": "unknown (root)"}, {"oc1": alarms})


def profile(ms, verdict="stable"):
    return LatencyProfile(
        candidate_id="r000",
        device_id=DEVICE.id,
        engine_sha256="0" * 64,
        threads=6,
        waiting="default",
        pace_fps=None,
        latency_ci_ms=(0.99 * ms, 1.01 * ms),
        rounds_ms=((ms, ms),),
        drift=(1.0,),
        tie=1.0,
        stopped="settled",
        max_s=2.0,
        verdict=verdict,
        contention={"clocks": "locked"},
        **dict.fromkeys(("latency_ms", "cpu_ms", "gpu_ms", "p50_ms", "p90_ms", "p95_ms", "p99_ms"), ms),
    )


def built(precision, removed):
    name = "r{:03d}".format(removed)
    engine = Engine(name, DEVICE, name + ".engine", "0" * 64, 2000000, None, (1, 1, 28, 28), 6, 12.0, precision)
    return Built("digits", precision, name, removed, engine, None, Gate(1e-4, 1e-3, 16), 568, 0)


def timed(precision, removed, way, ms):
    memory = "pageable staging" if way == records.OTHER_STAGING else "page-locked staging"
    graph = "off: not asked for" if way == records.NO_GRAPH else "on"
    return Timed("digits", precision, removed, way, graph, memory, profile(ms))


def steps():
    pairs = [(records.SENSORS, "before"), (records.DOCTOR, ""), (records.CLOCKS, ""), (records.SENSORS, "locked")]
    for precision in records.PRECISIONS:
        pairs += [(records.BUILD, "digits " + precision), (records.TIME, "digits " + precision)]
    pairs += [(records.TRTEXEC, "digits"), (records.SENSORS, "after")]
    return tuple(KitStep(kind, about, records.DONE, 1.0) for kind, about in pairs)


def collected():
    """All of it."""
    ways = ((records.DEFAULT, 1.0), (records.NO_GRAPH, 1.2), (records.OTHER_STAGING, 1.1))
    return Collected(
        version="0.2.0",
        date="2026-11-28T12:00Z",
        minutes=20.0,
        seconds=600.0,
        kit=Kit("jetpack-4.6.1", ("digits",)),
        machine="NVIDIA Jetson TX2, L4T 32.7.6, JetPack 4.6.6, power mode MAXN",
        steps=steps(),
        device=DEVICE,
        clocks_held=True,
        findings=(Finding("python", "ok", "3.6.9"), Finding("clocks", "warning", "floating", "lock them")),
        moments={"before": moment(FREE), "locked": moment(LOCKED), "after": moment(FREE)},
        watched=Watched(9, {"gpu": (1120.0, 1122.0), "cpu0": (2035.0, 2035.0)}, {"GPU-therm": (38.0, 51.5)}, {}),
        built=tuple(built(precision, removed) for precision in records.PRECISIONS for removed in (0, 53)),
        timed=tuple(
            timed(precision, removed, way, ms * (0.8 if removed else 1.0))
            for precision in records.PRECISIONS
            for removed in (0, 53)
            for way, ms in ways
        ),
        ratios=(Ratio("digits", DEVICE.id, 1.0, 0.98),),
    )
