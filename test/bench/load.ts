import { Agent, request } from 'node:http';
import { findContender } from './contenders.ts';
import { answerHeaders, findWorkload, leastBytes, REQUEST_BODY, type Workload } from './workloads.ts';

/** The load generator, a process of its own: it takes one order at a time from its parent and answers with times. */

export interface LoadOrder {
  origin: string;
  contender: string;
  workload: string;
  /** How many requests are in flight at any moment. */
  concurrency: number;
  requests: number;
  /** How many requests this contender has had before, so that no two orders send the same request twice. */
  sent: number;
  /** The number of the measurement that it belongs to. */
  measurement: number;
}

export interface LoadResult {
  firstEventMs: number[];
  endMs: number[];
}

interface Timing {
  firstEventMs: number;
  endMs: number;
}

interface Exchange {
  origin: URL;
  path: string;
  agent: Agent;
  headers: Record<string, string>;
  workload: Workload;
  leastBytes: number;
}

/** One request. Rejects unless the answer is whole: a fast refusal must not look like a fast relay. */
function send(exchange: Exchange): Promise<Timing> {
  return new Promise((resolve, reject) => {
    const { origin, path, agent, headers, workload } = exchange;
    const start = performance.now();
    const outgoing = request(
      { host: origin.hostname, port: origin.port, method: 'POST', path, agent, headers },
      (response) => {
        let firstEventMs = -1;
        let bytes = 0;
        let tail = '';
        response.on('data', (chunk: Buffer) => {
          if (firstEventMs < 0 && chunk.includes('event: ')) firstEventMs = performance.now() - start;
          bytes += chunk.length;
          tail = (tail + chunk.toString('latin1', Math.max(0, chunk.length - 200))).slice(-200);
        });
        response.on('end', () => {
          const endMs = performance.now() - start;
          const whole = bytes >= exchange.leastBytes && tail.includes('event: message_stop');
          if (response.statusCode === 200 && whole) resolve({ firstEventMs, endMs });
          else reject(new Error(`${workload.name}: status ${response.statusCode}, ${bytes} bytes, end: ${tail}`));
        });
        response.on('error', reject);
      },
    );
    outgoing.on('error', reject);
    outgoing.end(REQUEST_BODY);
  });
}

/** Sends what was ordered, keeping `concurrency` requests in flight over connections that are kept open. */
async function run(order: LoadOrder): Promise<LoadResult> {
  const contender = findContender(order.contender);
  const workload = findWorkload(order.workload);
  const agent = new Agent({ keepAlive: true, maxSockets: order.concurrency });
  const exchange = { origin: new URL(order.origin), path: contender.path, agent, workload };
  const least = leastBytes(workload);
  const timings: Timing[] = [];
  let started = 0;

  const client = async (): Promise<void> => {
    while (started < order.requests) {
      const headers = {
        'content-type': 'application/json',
        'content-length': String(REQUEST_BODY.length),
        'anthropic-version': '2023-06-01',
        ...answerHeaders(workload),
        ...contender.headers(order.sent + started, order.measurement),
      };
      started += 1;
      timings.push(await send({ ...exchange, headers, leastBytes: least }));
    }
  };
  try {
    await Promise.all(Array.from({ length: order.concurrency }, client));
  } finally {
    agent.destroy();
  }
  return {
    firstEventMs: timings.map((timing) => timing.firstEventMs),
    endMs: timings.map((timing) => timing.endMs),
  };
}

process.on('message', (order: LoadOrder) => {
  run(order).then(
    (result) => process.send?.({ result }),
    (error: unknown) => process.send?.({ error: String(error) }),
  );
});
process.once('disconnect', () => process.exit());
