// SPDX-License-Identifier: Apache-2.0
// The n-body benchmark of the Computer Language Benchmarks Game, from its published definition:
// the Sun and the four giant planets, symplectic Euler steps of 0.01 days, and the energy of the
// system before and after. Argument: number of steps (default 1000).
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define PI 3.141592653589793
#define SOLAR_MASS (4 * PI * PI)
#define DAYS_PER_YEAR 365.24
#define STEP 0.01

struct vector { double x, y, z; };
struct body { struct vector at, speed; double mass; };
enum { BODIES = 5 };

// Positions in astronomical units, speeds per year, masses in units of 4 pi^2 suns.
static struct body system_of[BODIES] = {
  { .mass = SOLAR_MASS },  // the Sun
  {                        // Jupiter
    { 4.84143144246472090e+00, -1.16032004402742839e+00, -1.03622044471123109e-01 },
    { 1.66007664274403694e-03 * DAYS_PER_YEAR, 7.69901118419740425e-03 * DAYS_PER_YEAR,
      -6.90460016972063023e-05 * DAYS_PER_YEAR },
    9.54791938424326609e-04 * SOLAR_MASS,
  },
  {                        // Saturn
    { 8.34336671824457987e+00, 4.12479856412430479e+00, -4.03523417114321381e-01 },
    { -2.76742510726411899e-03 * DAYS_PER_YEAR, 4.99852801234917238e-03 * DAYS_PER_YEAR,
      2.30417297573763929e-05 * DAYS_PER_YEAR },
    2.85885980666130812e-04 * SOLAR_MASS,
  },
  {                        // Uranus
    { 1.28943695621391310e+01, -1.51111514016986312e+01, -2.23307578892655734e-01 },
    { 2.96460137564761618e-03 * DAYS_PER_YEAR, 2.37847173959480950e-03 * DAYS_PER_YEAR,
      -2.96589568540237556e-05 * DAYS_PER_YEAR },
    4.36624404335156298e-05 * SOLAR_MASS,
  },
  {                        // Neptune
    { 1.53796971148509165e+01, -2.59193146099879641e+01, 1.79258772950371181e-01 },
    { 2.68067772490389322e-03 * DAYS_PER_YEAR, 1.62824170038242295e-03 * DAYS_PER_YEAR,
      -9.51592254519715870e-05 * DAYS_PER_YEAR },
    5.15138902046611451e-05 * SOLAR_MASS,
  },
};

static struct vector difference(struct vector a, struct vector b) {
  return (struct vector){ a.x - b.x, a.y - b.y, a.z - b.z };
}

static double dot(struct vector a, struct vector b) {
  return a.x * b.x + a.y * b.y + a.z * b.z;
}

static void add_scaled(struct vector *to, struct vector what, double by) {
  to->x += what.x * by;
  to->y += what.y * by;
  to->z += what.z * by;
}

// Gives the Sun the speed that makes the momentum of the whole system zero.
static void rest_centre_of_mass(void) {
  struct vector momentum = { 0, 0, 0 };
  for (int i = 0; i < BODIES; i++)
    add_scaled(&momentum, system_of[i].speed, system_of[i].mass);
  add_scaled(&system_of[0].speed, momentum, -1 / SOLAR_MASS);
}

static double energy(void) {
  double sum = 0;
  for (int i = 0; i < BODIES; i++) {
    const struct body *one = &system_of[i];
    sum += 0.5 * one->mass * dot(one->speed, one->speed);
    for (int j = i + 1; j < BODIES; j++) {
      struct vector apart = difference(one->at, system_of[j].at);
      sum -= one->mass * system_of[j].mass / sqrt(dot(apart, apart));
    }
  }
  return sum;
}

static void advance(void) {
  for (int i = 0; i < BODIES; i++) {
    struct body *one = &system_of[i];
    for (int j = i + 1; j < BODIES; j++) {
      struct body *other = &system_of[j];
      struct vector apart = difference(one->at, other->at);
      double square = dot(apart, apart);
      double pull = STEP / (square * sqrt(square));
      add_scaled(&one->speed, apart, -other->mass * pull);
      add_scaled(&other->speed, apart, one->mass * pull);
    }
  }
  for (int i = 0; i < BODIES; i++)
    add_scaled(&system_of[i].at, system_of[i].speed, STEP);
}

int main(int argc, char **argv) {
  char *end = "";
  long steps = argc > 1 ? strtol(argv[1], &end, 10) : 1000;
  if (*end || steps < 0) {
    puts("nbody-c: the number of steps must be a whole number, 0 or more");
    return 2;
  }
  rest_centre_of_mass();
  printf("%.9f\n", energy());
  for (long i = 0; i < steps; i++)
    advance();
  printf("%.9f\n", energy());
  return 0;
}
