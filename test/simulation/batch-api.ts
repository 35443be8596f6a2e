/** Stands in for the batches of the Claude API: it makes them, ends them by the clock, and fails as it is told to. */
import type { Upstream } from '#edge/claude/upstream.ts';
import { callingHost } from './host.ts';
import { ByteStream, createByteStreamResponse } from './streams.ts';
import type { World } from './world.ts';

/** How a call about a batch is answered. `broken`: results that break off, or any other answer that is not complete. */
export const BATCH_ANSWERS = ['whole', 'broken', 'unreachable', 'overloaded', 'unanswered'] as const;
export type BatchAnswer = (typeof BATCH_ANSWERS)[number];

/** How long a batch takes. */
const WORK_MS = 40 * 60_000;
/** What an item has used, with a result of one model. */
const USAGE = { input_tokens: 1_000, output_tokens: 200 };
const encoder = new TextEncoder();

/** A batch there. */
export interface BatchThere {
  id: string;
  items: number;
  createdAt: number;
  cancelledAt?: number;
  isDeleted: boolean;
}

export class BatchApi {
  readonly made: BatchThere[] = [];
  readonly #world: World;
  readonly #answers: readonly BatchAnswer[];
  #calls = 0;

  /** @param answers each call takes the next one; after the last all are whole */
  constructor(world: World, answers: readonly BatchAnswer[]) {
    this.#world = world;
    this.#answers = answers;
  }

  /** Makes a batch. @returns its id */
  make(items: number): string {
    const id = `msgbatch_up_${this.made.length + 1}`;
    this.made.push({ id, items, createdAt: this.#world.clock.now, isDeleted: false });
    return id;
  }

  get upstream(): Upstream {
    const fetch: Upstream['fetch'] = (url, init) =>
      new Promise((resolve, reject) => {
        const { signal, method = 'GET' } = init;
        signal?.addEventListener('abort', () => reject(signal.reason), { once: true });
        const answer = this.#world.isFreeOfMishaps ? 'whole' : (this.#answers[this.#calls] ?? 'whole');
        this.#calls += 1;
        const { pathname } = new URL(url);
        const label = `upstream ${method} ${pathname.split('/').slice(4).join('/')} (${answer})`;
        callingHost()?.sendAfterCommit(() => {
          void this.#world.hop(label).then(() => {
            if (answer === 'unreachable') return reject(new Error('network connection lost'));
            if (answer === 'overloaded') return resolve(errorResponse(529, 'overloaded_error'));
            const response = this.#answer(method, pathname, answer === 'broken');
            if (answer === 'unanswered') return reject(new Error('network connection lost'));
            resolve(response);
          });
        });
      });
    return { baseURL: 'https://api.anthropic.com', apiKey: 'sk-ant-simulated', fetch, isSimulated: false };
  }

  /** @returns when a batch ends; milliseconds since 1970 */
  endOf({ createdAt, cancelledAt }: BatchThere): number {
    return cancelledAt ?? createdAt + WORK_MS;
  }

  #answer(method: string, pathname: string, isBroken: boolean): Response {
    const [id, what] = pathname.split('/').slice(4);
    if (id === undefined) {
      const data = this.made.filter(({ isDeleted }) => !isDeleted).map((one) => this.#row(one));
      return json({ data: data.reverse(), has_more: false });
    }
    const batch = this.made.find((one) => one.id === id && !one.isDeleted);
    if (!batch) return errorResponse(404, 'not_found_error');
    const isEnded = this.endOf(batch) <= this.#world.clock.now;
    if (method === 'DELETE') {
      if (!isEnded) return errorResponse(400, 'invalid_request_error');
      batch.isDeleted = true;
      return json({ id, type: 'message_batch_deleted' });
    }
    if (what === 'cancel') {
      if (isEnded) return errorResponse(400, 'invalid_request_error');
      batch.cancelledAt ??= this.#world.clock.now;
      return json(this.#row(batch));
    }
    if (what !== 'results') return isBroken ? errorResponse(502, 'api_error') : json(this.#row(batch));
    return isEnded ? this.#results(batch, isBroken) : errorResponse(404, 'not_found_error');
  }

  #row(batch: BatchThere) {
    const { id, items, createdAt } = batch;
    const isEnded = this.endOf(batch) <= this.#world.clock.now;
    return {
      id,
      type: 'message_batch',
      processing_status: isEnded ? 'ended' : 'in_progress',
      created_at: new Date(createdAt).toISOString(),
      expires_at: new Date(createdAt + 86_400_000).toISOString(),
      request_counts: { processing: isEnded ? 0 : items, succeeded: isEnded ? items : 0 },
    };
  }

  #results(batch: BatchThere, isBroken: boolean): Response {
    const type = batch.cancelledAt === undefined ? 'succeeded' : 'canceled';
    const lines = Array.from({ length: batch.items }, (_, at) => {
      const message = { type: 'message', model: 'claude-opus-5-5', content: [], stop_reason: 'end_turn', usage: USAGE };
      const result = type === 'succeeded' ? { type, message } : { type };
      return `${JSON.stringify({ custom_id: `item-${at}`, result })}\n`;
    });
    const body = new ByteStream();
    void (async () => {
      body.write(encoder.encode(lines[0]));
      await this.#world.hop(`upstream goes on with results of ${batch.id}`);
      if (isBroken) return body.break(new Error('network connection lost'));
      body.write(encoder.encode(lines.slice(1).join('')));
      body.close();
    })();
    return createByteStreamResponse(body, { 'content-type': 'application/x-jsonl' });
  }
}

/** @returns an answer that is read without a turn of the machine's own: then the same schedule always has the same steps */
function json(value: object, status = 200): Response {
  const body = new ByteStream();
  body.write(encoder.encode(JSON.stringify(value)));
  body.close();
  return createByteStreamResponse(body, { 'content-type': 'application/json' }, status);
}

function errorResponse(status: number, type: string): Response {
  return json({ type: 'error', error: { type, message: type } }, status);
}
