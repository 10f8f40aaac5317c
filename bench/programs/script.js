// SPDX-License-Identifier: Apache-2.0
// What scripts on a controller do: objects, closures, strings, JSON, a sort and a regular expression.
const rounds = Number(scriptArgs[1] ?? 1);
const begin = performance.now();
let sum = 0;
for (let round = 0; round < rounds; round++) {
  const samples = [];
  for (let i = 0; i < 200; i++) samples.push({ at: i, value: (i * 7919 + round) % 1000, zone: `zone ${i % 4}` });
  const copy = JSON.parse(JSON.stringify(samples));
  copy.sort((a, b) => a.value - b.value || a.at - b.at);
  const zones = new Map();
  for (const { zone, value } of copy) zones.set(zone, (zones.get(zone) ?? 0) + value);
  for (const [zone, total] of zones) sum = (sum * 33 + total + Number(/\d+/.exec(zone)[0])) >>> 0;
}
print(`result ${sum}`);
print(`us ${Math.round((performance.now() - begin) * 1000)}`);
