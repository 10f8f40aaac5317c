// Makes the report as `allure generate` does, with the quality gate's results in it, which that command leaves out.
// Arguments: settings, output directory, title, results directory. Writes the gate's results to standard output as JSON.
import { AllureReport, readConfig } from "@allurereport/core";
import { PathResultFile } from "@allurereport/reader-api";
import { readFile, readdir } from "node:fs/promises";
import { join } from "node:path";

// Read at once. Allure's streams take 64 KiB twice for each file, of which there are tens of thousands, and most of the
// time went to collecting them.
class Whole extends PathResultFile {
  asBuffer = () => readFile(this.path);
  asUtf8String = () => readFile(this.path, "utf-8");
  asJson = async () => JSON.parse(await this.asUtf8String());
}

const [settings, output, name, results] = process.argv.slice(2);
const report = new AllureReport(await readConfig(output, settings, { name, output }));
await report.start();
for (const file of (await readdir(results)).sort()) await report.readResult(new Whole(join(results, file)));
const trs = await report.store.allTestResults({ includeRetries: false });
const gate = report.hasQualityGate ? (await report.validate({ trs })).results : [];
report.realtimeDispatcher.sendQualityGateResults(gate);
await report.done();
process.stdout.write(JSON.stringify(gate.map(({ rule, success, message }) => ({ rule, success, message }))));
