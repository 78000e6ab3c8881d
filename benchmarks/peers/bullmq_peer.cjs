// BullMQ: `node bullmq_peer.cjs worker` and `node bullmq_peer.cjs client submit|bulk|latency COUNT`.
// The same marks and the same line of JSON as marks.py and client.py; results are kept, as is its default.

const fs = require("node:fs");
const path = require("node:path");
const { Queue, QueueEvents, Worker } = require("bullmq");

const TEXT = "x".repeat(89);
const RATE_PER_S = 20;
const WARM_UP = 10;
const BATCH = 1000;
const url = new URL(process.env.BENCH_URL);
const connection = { host: url.hostname, port: Number(url.port), maxRetriesPerRequest: null };

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

class Marks {
  count = 0n;
  written = 0n;
  first = 0n;
  last = 0n;

  hit() {
    this.last = process.hrtime.bigint();
    if (this.count === 0n) {
      this.first = this.last;
      this.file = fs.openSync(path.join(process.env.BENCH_MARKS, String(process.pid)), "w");
      setInterval(() => this.write(), 20);
    }
    this.count += 1n;
  }

  write() {
    if (this.written === this.count) return;
    const record = Buffer.alloc(24);
    [this.count, this.first, this.last].forEach((value, at) => record.writeBigUInt64LE(value, 8 * at));
    fs.writeSync(this.file, record, 0, 24, 0);
    this.written = this.count;
  }
}

function work() {
  const marks = new Marks();
  const handle = async (job) => {
    if (job.name === "stamp") return String(process.hrtime.bigint());
    marks.hit();
    return null;
  };
  new Worker("bench", handle, { connection, concurrency: Number(process.env.BENCH_CONCURRENCY) });
}

async function submitMany(queue, count) {
  for (let start = 0; start < count; start += BATCH) {
    const size = Math.min(BATCH, count - start);
    await queue.addBulk(Array.from({ length: size }, () => ({ name: "noop", data: { text: TEXT } })));
  }
}

async function call(queue, events) {
  const began = process.hrtime.bigint();
  const job = await queue.add("stamp", {});
  const started = BigInt(await job.waitUntilFinished(events, 30000));
  return { start: Number(started - began) / 1e6, result: Number(process.hrtime.bigint() - began) / 1e6 };
}

async function latency(queue, count) {
  const events = new QueueEvents("bench", { connection });
  await events.waitUntilReady();
  for (let number = 0; number < WARM_UP; number += 1) await call(queue, events);
  const began = performance.now();
  const calls = [];
  for (let number = 0; number < count; number += 1) {
    await sleep(Math.max(0, began + (number * 1000) / RATE_PER_S - performance.now()));
    calls.push(call(queue, events));
  }
  const samples = await Promise.all(calls);
  return { start: samples.map((sample) => sample.start), result: samples.map((sample) => sample.result) };
}

async function client(action, count) {
  const queue = new Queue("bench", { connection });
  await queue.waitUntilReady();
  const began = performance.now();
  const cpu = process.cpuUsage();
  let answer = null;
  if (action === "latency") answer = await latency(queue, count);
  else if (action === "bulk") await submitMany(queue, count);
  else for (let number = 0; number < count; number += 1) await queue.add("noop", { text: TEXT });
  const used = process.cpuUsage(cpu);
  const timing = { seconds: (performance.now() - began) / 1000, cpu: (used.user + used.system) / 1e6 };
  process.stdout.write(`${JSON.stringify(answer ?? timing)}\n`, () => process.exit(0));
}

if (process.argv[2] === "worker") work();
else client(process.argv[3], Number(process.argv[4]));
