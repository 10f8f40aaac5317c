"""FMUs of an oven, of FMI 2 and 3, built from C in the test."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

from limits import HANG

SOURCE = r"""
#include <stdlib.h>
#include <string.h>
#include <stdbool.h>
#include <stdint.h>
#include <math.h>
typedef struct { double heater, gain, tau, fail, temperature; void *environment; void *log; } Oven;
static void run(Oven *o, double dt) {
    double target = 20 + o->gain * o->heater;
    o->temperature = target + (o->temperature - target) * exp(-dt / o->tau);
}
static double *variable(Oven *o, unsigned vr) { return &o->heater + vr; }
static Oven *made(void) { Oven *o = calloc(1, sizeof *o); o->gain = 80; o->tau = 0.5; o->temperature = 20; return o; }
"""
FMI2 = r"""
typedef struct { void (*logger)(void*, const char*, int, const char*, const char*, ...); void *(*a)(size_t, size_t);
                 void (*f)(void*); void *s; void *environment; } Callbacks;
const char *fmi2GetVersion(void) { return "2.0"; }
const char *fmi2GetTypesPlatform(void) { return "default"; }
void *fmi2Instantiate(const char *n, int kind, const char *guid, const char *where, const Callbacks *c, int v, int l) {
    if (strcmp(guid, "oven")) return NULL;
    Oven *o = made(); o->log = (void*)c->logger; o->environment = c->environment; return o;
}
void fmi2FreeInstance(void *o) { free(o); }
int fmi2SetupExperiment(void *o, int a, double b, double c, int d, double e) { return 0; }
int fmi2EnterInitializationMode(void *o) { return 0; }
int fmi2ExitInitializationMode(void *o) { return 0; }
int fmi2Terminate(void *o) { return 0; }
int fmi2GetReal(void *o, const unsigned *vr, size_t n, double *v) { for (size_t i=0;i<n;i++) v[i]=*variable(o,vr[i]); return 0; }
int fmi2SetReal(void *o, const unsigned *vr, size_t n, const double *v) { for (size_t i=0;i<n;i++) *variable(o,vr[i])=v[i]; return 0; }
int fmi2GetBoolean(void *o, const unsigned *vr, size_t n, int *v) { for (size_t i=0;i<n;i++) v[i]=((Oven*)o)->temperature>=50; return 0; }
int fmi2DoStep(void *p, double t, double dt, int x) {
    Oven *o = p;
    if (o->fail > 0 && t >= o->fail) {
        ((void(*)(void*,const char*,int,const char*,const char*,...))o->log)(o->environment,"oven",3,"error","the door is open at %g s",t);
        return 3;
    }
    run(o, dt); return 0;
}
int fmi2GetFMUstate(void *o, void **s) { *s = malloc(sizeof(Oven)); memcpy(*s, o, sizeof(Oven)); return 0; }
int fmi2SetFMUstate(void *o, void *s) { memcpy(o, s, sizeof(Oven)); return 0; }
int fmi2FreeFMUstate(void *o, void **s) { free(*s); *s = NULL; return 0; }
"""
FMI3 = r"""
typedef void (*Log)(void*, int, const char*, const char*);
const char *fmi3GetVersion(void) { return "3.0"; }
void *fmi3InstantiateCoSimulation(const char *n, const char *token, const char *where, bool v, bool l, bool e, bool early,
                                  const unsigned *r, size_t nr, void *environment, Log log, void *i) {
    if (strcmp(token, "oven")) return NULL;
    Oven *o = made(); o->log = (void*)log; o->environment = environment; return o;
}
void fmi3FreeInstance(void *o) { free(o); }
int fmi3EnterInitializationMode(void *o, bool a, double b, double c, bool d, double e) { return 0; }
int fmi3ExitInitializationMode(void *o) { return 0; }
int fmi3Terminate(void *o) { return 0; }
int fmi3GetFloat64(void *o, const unsigned *vr, size_t n, double *v, size_t m) { for (size_t i=0;i<n;i++) v[i]=*variable(o,vr[i]); return 0; }
int fmi3SetFloat64(void *o, const unsigned *vr, size_t n, const double *v, size_t m) { for (size_t i=0;i<n;i++) *variable(o,vr[i])=v[i]; return 0; }
int fmi3GetBoolean(void *o, const unsigned *vr, size_t n, bool *v, size_t m) { for (size_t i=0;i<n;i++) v[i]=((Oven*)o)->temperature>=50; return 0; }
int fmi3DoStep(void *p, double t, double dt, bool x, bool *event, bool *end, bool *early, double *last) {
    Oven *o = p;
    if (o->fail > 0 && t >= o->fail) { ((Log)o->log)(o->environment, 3, "error", "the door is open"); return 3; }
    *event = *early = false; *end = o->fail < 0 && t >= -o->fail; *last = t + dt;
    run(o, dt); return 0;
}
int fmi3GetFMUState(void *o, void **s) { *s = malloc(sizeof(Oven)); memcpy(*s, o, sizeof(Oven)); return 0; }
int fmi3SetFMUState(void *o, void *s) { memcpy(o, s, sizeof(Oven)); return 0; }
int fmi3FreeFMUState(void *o, void **s) { free(*s); *s = NULL; return 0; }
int fmi3SerializedFMUStateSize(void *o, void *s, size_t *n) { *n = sizeof(Oven); return 0; }
int fmi3SerializeFMUState(void *o, void *s, uint8_t *b, size_t n) { memcpy(b, s, n); return 0; }
int fmi3DeserializeFMUState(void *o, const uint8_t *b, size_t n, void **s) { *s = malloc(n); memcpy(*s, b, n); return 0; }
"""
NAMES = ("heater", "gain", "tau", "fail", "temperature")


def build(directory: Path, version: int, *, platform: str = "", kind: str = "CoSimulation", able: str = "") -> Path:
    """Build the FMU and return its file. `able` are further attributes of the kind."""
    import fmpy
    from fmpy.fmi2 import FMU2Slave
    from fmpy.fmi3 import FMU3Slave

    directory.mkdir(parents=True, exist_ok=True)
    code = SOURCE + (FMI2 if version == 2 else FMI3)
    cls = FMU2Slave if version == 2 else FMU3Slave
    stubs = [name for name in dir(cls) if name.startswith(f"fmi{version}") and f" *{name}(" not in code]
    code += "".join(f"int {name}(void) {{ return 3; }}\n" for name in stubs if f" {name}(" not in code)
    source, library = directory / "oven.c", directory / "oven.so"
    source.write_text(code)
    command = ["cc", "-shared", "-fPIC", "-O1", "-w", "-o", str(library), str(source), "-lm"]
    subprocess.run(command, check=True, timeout=HANG)
    file = directory / f"oven{version}.fmu"
    mine = fmpy.platform if version == 2 else fmpy.platform_tuple
    suffix = {"linux": ".so"}.get(sys.platform, fmpy.sharedLibraryExtension)
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("modelDescription.xml", description(version, kind, able))
        archive.write(library, f"binaries/{platform or mine}/oven{suffix}")
    return file


def description(version: int, kind: str, able: str) -> str:
    causality = {"heater": "input", "temperature": "output"}
    rows = []
    for reference, name in enumerate(NAMES):
        role = causality.get(name, "parameter")
        start = {"gain": "80", "tau": "0.5", "heater": "0", "fail": "0"}.get(name)
        given = f' start="{start}"' if start else ""
        unit = ' unit="degC"' if name == "temperature" else ""
        varies = "tunable" if role == "parameter" else "continuous"
        if version == 2:
            rows.append(
                f'<ScalarVariable name="{name}" valueReference="{reference}" causality="{role}" variability="{varies}">'
                f"<Real{given}{unit}/></ScalarVariable>"
            )
        else:
            rows.append(
                f'<Float64 name="{name}" valueReference="{reference}" causality="{role}" variability="{varies}"'
                f"{given}{unit}/>"
            )
    units = '<UnitDefinitions><Unit name="degC"/></UnitDefinitions>'
    hot = 'name="hot" valueReference="9" causality="output" variability="discrete"'
    if version == 2:
        rows.append(f"<ScalarVariable {hot}><Boolean/></ScalarVariable>")
        head = '<fmiModelDescription fmiVersion="2.0" modelName="oven" guid="oven">'
        structure = '<ModelStructure><Outputs><Unknown index="5"/><Unknown index="6"/></Outputs></ModelStructure>'
    else:
        rows.append(f"<Boolean {hot}/>")
        head = '<fmiModelDescription fmiVersion="3.0" modelName="oven" instantiationToken="oven">'
        structure = '<ModelStructure><Output valueReference="4"/><Output valueReference="9"/></ModelStructure>'
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>{head}<{kind} modelIdentifier="oven" {able}/>{units}'
        f"<ModelVariables>{''.join(rows)}</ModelVariables>{structure}</fmiModelDescription>"
    )
