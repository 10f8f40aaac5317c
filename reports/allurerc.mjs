// Settings of the HTML report; `hil report` names the title, the results and the place to write to.
const named = (kind) => new RegExp(`\\b${kind}Error\\b`);

export default {
  name: "Hardware-in-the-loop tests",
  plugins: {
    awesome: {
      options: { singleFile: true, reportLanguage: "en", groupBy: ["epic", "feature", "suite"] },
    },
  },
  // whose fault it was; the first rule that fits counts
  categories: [
    { name: "Infrastructure: host, emulator, network or disk", matchers: [{ trace: named("Infrastructure") }, { message: named("Infrastructure") }] },
    { name: "Configuration: manifest, option or file", matchers: [{ trace: named("Configuration") }, { message: named("Configuration") }] },
    { name: "Boot: a stage never came", matchers: [{ trace: named("Boot") }, { message: named("Boot") }] },
    { name: "Guest: shell or transfer", matchers: [{ trace: named("Guest") }, { message: named("Guest") }] },
    { name: "Runner: WebAssembly runtime or agent", matchers: [{ trace: named("Runner") }, { message: named("Runner") }] },
    { name: "Expectation not met", matchers: { statuses: ["failed"] } },
    { name: "Error in a test", matchers: { statuses: ["broken"] } },
  ],
};
