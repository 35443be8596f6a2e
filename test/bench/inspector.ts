/** What a runtime's inspector tells of an isolate's memory. */

import { setTimeout as sleep } from 'node:timers/promises';

const WAKE_EVERY_MS = 100;
const SAMPLED_EVERY_MS = 5;
/** Samples from one collection to the next, where it is collected: each stops all work for some milliseconds. */
const COLLECTED_AFTER = 8;

/** In bytes. */
interface HeapUsage {
  usedSize: number;
  /** What lies beside the heap: the bytes of array buffers. */
  backingStorageSize?: number;
}

/** A connection to the isolate of the one Worker that a runtime has. */
export class Inspector {
  readonly #socket: WebSocket;
  readonly #waiting = new Map<number, (result: unknown) => void>();
  #last = 0;

  private constructor(socket: WebSocket) {
    this.#socket = socket;
    socket.addEventListener('message', ({ data }) => {
      const { id, result } = JSON.parse(String(data)) as { id?: number; result?: unknown };
      if (id === undefined) return;
      this.#waiting.get(id)?.(result);
      this.#waiting.delete(id);
    });
  }

  /** @param address that of the inspector, of which the list of isolates is asked */
  static async connect(address: URL): Promise<Inspector> {
    const list = await fetch(`http://${address.host}/json`);
    const isolates = (await list.json()) as { id: string; webSocketDebuggerUrl: string }[];
    const isolate = isolates.find(({ id }) => id.startsWith('core:user:'));
    if (isolate === undefined) throw new Error(`the inspector shows no Worker: ${JSON.stringify(isolates)}`);
    const socket = new WebSocket(isolate.webSocketDebuggerUrl);
    await new Promise((resolve, reject) => {
      socket.addEventListener('open', resolve, { once: true });
      socket.addEventListener('error', () => reject(new Error('the inspector does not answer')), { once: true });
    });
    return new Inspector(socket);
  }

  /** @returns what the isolate holds now, what nothing points to any more included; in bytes */
  async used(): Promise<number> {
    const { usedSize, backingStorageSize = 0 } = await this.#call<HeapUsage>('Runtime.getHeapUsage');
    return usedSize + backingStorageSize;
  }

  /**
   * Does some work.
   *
   * @param collects whether what nothing points to any more is collected now and then
   * @returns what the work returns, and the most that the isolate held meanwhile, in bytes
   */
  async peakDuring<T>(work: () => Promise<T>, collects = false): Promise<{ result: T; peakBytes: number }> {
    let peakBytes = 0;
    let isDone = false;
    const sampling = (async () => {
      for (let samples = 1; !isDone; samples += 1) {
        peakBytes = Math.max(peakBytes, await this.used());
        if (collects && samples % COLLECTED_AFTER === 0) await this.#call('HeapProfiler.collectGarbage');
        await sleep(SAMPLED_EVERY_MS);
      }
    })();
    const result = await work().finally(() => {
      isDone = true;
    });
    await sampling;
    return { result, peakBytes };
  }

  /**
   * @param wake has the isolate do something: it collects at its next work, and never while it has none
   * @returns what the isolate holds of which something still points to it; in bytes
   */
  async alive(wake: () => Promise<unknown>): Promise<number> {
    // What the first collection frees may be what kept something else.
    for (let time = 0; time < 2; time += 1) {
      let isCollected = false;
      const collected = this.#call('HeapProfiler.collectGarbage').then(() => {
        isCollected = true;
      });
      // A command that arrives behind the work that was to wake the isolate waits for the next one.
      while (!isCollected) await Promise.all([wake(), Promise.race([collected, sleep(WAKE_EVERY_MS)])]);
    }
    return await this.used();
  }

  close(): void {
    this.#socket.close();
  }

  #call<T>(method: string): Promise<T> {
    this.#last += 1;
    const id = this.#last;
    const answered = new Promise<T>((resolve) => {
      this.#waiting.set(id, resolve as (result: unknown) => void);
    });
    this.#socket.send(JSON.stringify({ id, method }));
    return answered;
  }
}
