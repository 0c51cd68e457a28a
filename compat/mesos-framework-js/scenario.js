// A legacy framework, without roles or capabilities, on the published
// mesos-framework library (JSON): two instances with a port each run, one is
// killed, the implicit reconciliation names the other, teardown.
//
//   node scenario.js <host> <port>
"use strict";

const fs = require("fs");
const os = require("os");
const path = require("path");
const { Scheduler, Mesos } = require("mesos-framework");

const [host, port] = process.argv.slice(2);
if (!port) {
    console.error("usage: node scenario.js <host of a master> <port>");
    process.exit(2);
}
const mesos = Mesos.getMesos();
const logs = fs.mkdtempSync(path.join(os.tmpdir(), "compat-js-"));
const finish = (problem) => {
    fs.rmSync(logs, { recursive: true, force: true });
    console.log(problem ? `FAILED: ${problem}` : "PASSED");
    process.exit(problem ? 1 : 0);
};
setTimeout(() => finish(`nothing more within 60 s; running: ${JSON.stringify([...running])}`), 60000);

const running = new Map();
let killed = null;
let reconciling = false;

const scheduler = new Scheduler({
    masterUrl: host,
    port: Number(port),
    frameworkName: "compat-js",
    restartStates: [],
    logging: { path: logs, fileName: "scheduler.log", level: "error" },
    tasks: {
        sleeper: {
            priority: 1,
            instances: 2,
            commandInfo: new mesos.CommandInfo(null, null, true, "test -n \"$HOST\" && sleep 1000", null, null),
            resources: { cpus: 0.1, mem: 32, ports: 1, disk: 0 },
        },
    },
});

scheduler.on("ready", () => scheduler.subscribe());
scheduler.on("error", (error) => {
    if (!/was closed/.test(error.message || "")) finish(error.message || JSON.stringify(error));
});
scheduler.on("offers", (offers) => {
    const offer = offers.offers[0];
    if (offer.allocation_info || offer.resources.some((r) => r.allocation_info || r.reservations)) {
        finish("a framework without MULTI_ROLE was shown newer fields: " + JSON.stringify(offer));
    }
});
scheduler.on("update", (update) => {
    const status = update.status;
    const task = status.task_id.value;
    console.log(`${task} is ${status.state} ${status.reason || ""} ${status.message || ""}`);
    if (reconciling) {
        if (status.uuid || status.reason !== "REASON_RECONCILIATION" || !running.has(task)) {
            finish("implicit reconciliation answered " + JSON.stringify(status));
        }
        scheduler.on("sent_teardown", () => finish());
        scheduler.teardown();
        return;
    }
    if (status.state === "TASK_RUNNING") {
        running.set(task, status.agent_id.value);
        if (running.size === 2 && !killed) {
            killed = task;
            scheduler.kill(task, status.agent_id.value);
        }
    } else if (status.state === "TASK_KILLING") {
        finish("a framework without TASK_KILLING_STATE was sent TASK_KILLING");
    } else if (status.state === "TASK_KILLED" && task === killed) {
        running.delete(task);
        reconciling = true;
        // The library acknowledges first, on another connection.
        setTimeout(() => scheduler.reconcile(), 500);
    } else if (status.state !== "TASK_STARTING") {
        finish(`unexpected ${status.state} of ${task}`);
    }
});
