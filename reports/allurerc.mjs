// Settings of the HTML report; `hil report` names the title, the results and the place to write to.
const fault = (name) => ({ labels: { fault: new RegExp(`^${name}$`) } });
const image = (kind) => {
  const named = new RegExp(`\\b${kind}Error\\b`);
  return [{ ...fault("image"), trace: named }, { ...fault("image"), message: named }];
};

export default {
  name: "Hardware-in-the-loop tests",
  plugins: {
    awesome: {
      options: { singleFile: true, reportLanguage: "en", groupBy: ["epic", "feature", "suite"] },
    },
  },
  // whose fault it was, as the plugin has labelled it; of several the first rule that fits counts
  categories: [
    { name: "Image: boot, a stage never came", matchers: image("Boot") },
    { name: "Image: guest, shell or transfer", matchers: image("Guest") },
    { name: "Image: runner, WebAssembly runtime or agent", matchers: image("Runner") },
    { name: "Image: expectation not met", matchers: [fault("image")] },
    { name: "Test: an error in its own code", matchers: [fault("test")] },
    { name: "Configuration: manifest, option or file", matchers: [fault("configuration")] },
    { name: "Infrastructure: host, emulator, network or disk", matchers: [fault("infrastructure")] },
  ],
};
