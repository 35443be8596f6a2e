import type { ChildProcess } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Contender } from './contenders.ts';
import type { Measurement } from './figures.ts';
import type { LoadOrder, LoadResult } from './load.ts';
import { nextMessage } from './processes.ts';
import type { Server } from './server.ts';
import type { Workload } from './workloads.ts';

// What a Worker does after the answer (reading the rest of a copy, settling) belongs to the request.
const AFTERWORK_MS = 100;
/**
 * Before each measurement comes such a share of its requests that is not measured. Otherwise each contender pays for the caches
 * that the one before it has filled.
 */
const WARMING_PART = 0.25;

/** Has a contender's requests sent by the load generator, and knows how many it has had. */
export class Client {
  readonly #load: ChildProcess;
  readonly #contender: Contender;
  readonly #server: Server;
  #sent = 0;
  #measurement = 0;

  constructor(load: ChildProcess, contender: Contender, server: Server) {
    this.#load = load;
    this.#contender = contender;
    this.#server = server;
  }

  /** Rejects if one of the answers is not whole. @returns what each request took, in milliseconds */
  async send(workload: Workload, requests = workload.requests, concurrency = workload.inFlight): Promise<LoadResult> {
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

  /** Measures a part of a workload. @param warming so many requests come first, and are not measured */
  async measure(workload: Workload, warming = Math.ceil(workload.requests * WARMING_PART)): Promise<Measurement> {
    this.#measurement += 1;
    await this.send(workload, (this.#contender.begins ?? 0) + warming);
    await sleep(AFTERWORK_MS);
    const before = this.#server.cpuMs();
    await this.send(workload);
    await sleep(AFTERWORK_MS);
    const cpuMs = (this.#server.cpuMs() - before) / workload.requests;
    return { cpuMs, firstEventMs: (await this.send(workload, workload.latencyRequests, 1)).firstEventMs };
  }
}
