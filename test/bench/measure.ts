import type { ChildProcess } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Contender } from './contenders.ts';
import type { Measurement } from './figures.ts';
import type { LoadOrder, LoadResult } from './load.ts';
import { nextMessage } from './processes.ts';
import type { Server } from './server.ts';
import type { Workload } from './workloads.ts';

const inFlight = (workload: Workload): number => workload.inFlight ?? 8;

// What a Worker does after the answer (reading the rest of a copy, settling) belongs to the request.
const afterworkMs = 100;

/** Has a contender's requests sent by the load generator, and knows how many it has had. */
export class Client {
  #load: ChildProcess;
  #contender: Contender;
  #server: Server;
  #sent = 0;
  #measurement = 0;

  constructor(load: ChildProcess, contender: Contender, server: Server) {
    this.#load = load;
    this.#contender = contender;
    this.#server = server;
  }

  /** Rejects if one of the answers is not whole. */
  async #send(workload: Workload, concurrency: number, requests: number): Promise<LoadResult> {
    const order: LoadOrder = {
      origin: this.#server.origin,
      contender: this.#contender.name,
      workload: workload.name,
      concurrency,
      requests,
      sent: this.#sent,
      measurement: this.#measurement,
    };
    this.#sent += requests;
    this.#load.send(order);
    const answer = await nextMessage<{ result: LoadResult } | { error: string }>(this.#load);
    if ('error' in answer) throw new Error(`${this.#contender.name}: ${answer.error}`);
    return answer.result;
  }

  /** Has the contender begin what the next measurement goes on with. */
  async #begin(workload: Workload): Promise<void> {
    this.#measurement += 1;
    if (this.#contender.begins === undefined) return;
    await this.#send(workload, inFlight(workload), this.#contender.begins);
    await sleep(afterworkMs);
  }

  /** Gives the runtime's compiler the time to see what is hot: it is still busy with that after a thousand requests. */
  async warmUp(workload: Workload): Promise<void> {
    await this.#begin(workload);
    await this.#send(workload, inFlight(workload), workload.requests * 2);
  }

  /** @returns how many milliseconds each request took, from its first byte to the last of its answer */
  async send(workload: Workload, requests = workload.requests): Promise<number[]> {
    return (await this.#send(workload, inFlight(workload), requests)).endMs;
  }

  /** @returns milliseconds of CPU per request; undefined where it cannot be read */
  async measureCpu(workload: Workload): Promise<number | undefined> {
    await this.#begin(workload);
    const before = this.#server.cpuMs();
    await this.#send(workload, inFlight(workload), workload.requests);
    await sleep(afterworkMs);
    const after = this.#server.cpuMs();
    return before === undefined || after === undefined ? undefined : (after - before) / workload.requests;
  }

  /** @param warming so many requests come first, and are not measured */
  async measure(workload: Workload, warming = 0): Promise<Measurement> {
    await this.#begin(workload);
    if (warming > 0) {
      await this.#send(workload, inFlight(workload), warming);
      await sleep(afterworkMs);
    }
    const before = this.#server.cpuMs();
    const busy = await this.#send(workload, inFlight(workload), workload.requests);
    await sleep(afterworkMs);
    const after = this.#server.cpuMs();
    const calm = await this.#send(workload, 1, workload.latencyRequests);
    return {
      cpuMs: before === undefined || after === undefined ? undefined : (after - before) / workload.requests,
      requestsPerSecond: (workload.requests / busy.elapsedMs) * 1000,
      firstEventMs: calm.firstEventMs,
      endMs: calm.endMs,
      delayMs: [...busy.delayMs, ...calm.delayMs],
    };
  }
}
