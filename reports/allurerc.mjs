// Settings of the HTML report. `hil report` adds what belongs to one report: title, results, history, known issues.

// A category for each kind of failure; the kinds are those of hil/report/kinds.py, in the same order. The plugin labels
// a failed test with one kind, so that it is in one category. Within a category what is new comes first.
const KINDS = [
  ["boot", "Image: a boot stage never came", [{ label: "stage" }, "transition"]],
  ["died", "Image: it died (a panic or another fatal message)"],
  ["guest", "Image: guest, its shell or a transfer"],
  ["exited", "Module: it exited with another status"],
  ["failed", "Module: the runner refused or ended it"],
  ["faulted", "Runner: a module took it down"],
  ["silent", "Runner: silent, no verdict that can be trusted"],
  ["stuck", "Runner: stuck, the agent did not come back"],
  ["no-agent", "Runner: no agent, or no runner behind it"],
  ["garbled", "Line: a module's output was garbled"],
  ["runner", "Runner: agent or runtime did not do their part"],
  ["output", "Module: it ran to its end, but the test expected something else"],
  ["bound-failed", "Bound: not kept"],
  ["bound-inconclusive", "Bound: inconclusive, too few samples or too coarse a clock"],
  ["fault-made", "Robustness: a fault made on purpose ended badly"],
  ["expectation", "Image: expectation not met"],
  ["test", "Test: an error in its own code"],
  ["configuration", "Configuration: manifest, option or file"],
  ["infrastructure", "Infrastructure: host, emulator, network or disk"],
  ["killed", "Run: killed while this test ran"],
  ["not-run", "Run: not run"],
  ["bound-marginal", "Bound: kept, but marginal (passed)"],
];
// results of others, or from before there were kinds
const FAULTS = { image: "expectation", test: "test", configuration: "configuration", infrastructure: "infrastructure" };
const FAILED = ["failed", "broken"];

const exactly = (text) => new RegExp(`^${text}$`);
const label = (tr, name) => tr.labels.find((one) => one.name === name)?.value;

export const categories = [
  ...KINDS.map(([kind, name, groupBy = ["transition"]]) => ({
    name,
    groupBy,
    matchers: [
      { labels: { kind: exactly(kind) } },
      ...Object.entries(FAULTS)
        .filter(([, word]) => word === kind)
        .map(([fault]) => (d) =>
          FAILED.includes(d.status) &&
          !d.labels.some((one) => one.name === "kind") &&
          d.labels.find((one) => one.name === "fault")?.value === fault),
    ],
  })),
  { name: "Other: nobody has said whose fault it is", matchers: [{ statuses: FAILED }] },
];

const notRun = {
  rule: "allRun",
  message: ({ actual }) => `${actual} tests were not run`,
  successMessage: () => "All tests were run",
  validate: async ({ trs }) => {
    const found = trs.filter((tr) => label(tr, "kind") === "not-run").map((tr) => tr.id);
    return { success: found.length === 0, actual: found.length, testResults: found };
  },
};

export const qualityGate = {
  use: [...(await import("@allurereport/core")).qualityGateDefaultRules, notRun],
  rules: [
    // whoever's fault: what could not be judged is not good. Known issues do not count (those of a tracker are left out
    // here, the others by Allure itself)
    { id: "failures", maxFailures: 0, filter: (tr) => tr.resolution !== "issue" },
    { id: "tests", minTestsCount: 1, filter: (tr) => ["passed", ...FAILED].includes(tr.status) },
    { id: "tests", allRun: true },
  ],
};

export default {
  name: "Hardware-in-the-loop tests",
  plugins: {
    awesome: {
      options: { singleFile: true, reportLanguage: "en", groupBy: ["epic", "feature", "story"] },
    },
  },
  categories,
  qualityGate,
};
