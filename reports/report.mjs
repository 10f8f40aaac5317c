// Makes the report as `allure generate` does, with the quality gate's results in it, which that command leaves out.
// Arguments: settings, output directory, title, results directory. Writes the gate's results to standard output as JSON.
import { AllureReport, readConfig } from "@allurereport/core";

const [settings, output, name, results] = process.argv.slice(2);
const report = new AllureReport(await readConfig(output, settings, { name, output }));
await report.start();
await report.readDirectory(results);
const trs = await report.store.allTestResults({ includeRetries: false });
const gate = report.hasQualityGate ? (await report.validate({ trs })).results : [];
report.realtimeDispatcher.sendQualityGateResults(gate);
await report.done();
process.stdout.write(JSON.stringify(gate.map(({ rule, success, message }) => ({ rule, success, message }))));
