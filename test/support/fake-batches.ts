import { type Asked, refusal } from './dom.ts';

/** The id of the one batch that there is. */
export const BATCH_ID = 'msgbatch_01Wq3XkGpnVBcXvEUvBHWjqA';
const COUNTS = { processing: 0, succeeded: 0, errored: 0, canceled: 0, expired: 0 };

/** Answers for the edge's batches, so that each state lasts as long as a test looks at it. */
export class FakeBatches {
  /** The bodies that were sent. */
  readonly sent: { requests: { custom_id: string; params: Record<string, unknown> }[] }[] = [];
  readonly keys: (string | null)[] = [];
  state: 'in_progress' | 'ended' = 'in_progress';
  fits = true;
  /** How often sending fails before it succeeds. */
  failures = 0;
  total = 0;
  deleted = false;

  get row() {
    const isEnded = this.state === 'ended';
    const errored = isEnded ? Math.min(1, this.total) : 0;
    return {
      id: BATCH_ID,
      type: 'message_batch',
      archived_at: null,
      cancel_initiated_at: null,
      created_at: '2026-11-20T10:00:00Z',
      ended_at: isEnded ? '2026-11-20T10:20:00Z' : null,
      expires_at: '2026-11-21T10:00:00Z',
      processing_status: this.state,
      request_counts: isEnded
        ? { ...COUNTS, succeeded: this.total - errored, errored }
        : { ...COUNTS, processing: this.total },
      results_url: null,
      cost_usd: isEnded ? 0.0042 : null,
    };
  }

  /** The lines of the results; the last one is an error, the second looks like a formula. */
  get lines(): string {
    return Array.from({ length: this.total }, (_, index) => {
      const custom_id = `row-${String(index + 1).padStart(5, '0')}`;
      if (index === this.total - 1) {
        const error = {
          type: 'error',
          error: { type: 'overloaded_error', message: 'Overloaded' },
          request_id: 'req_1',
        };
        return JSON.stringify({ custom_id, result: { type: 'errored', error } });
      }
      const text = index === 1 ? '=1+1' : `Thank you for ticket ${index + 1}, "as you say", we look into it.`;
      const message = {
        ...{ id: `msg_${index}`, type: 'message', role: 'assistant', model: 'claude-haiku-5-5' },
        ...{ content: [{ type: 'text', text }], stop_reason: 'end_turn', stop_sequence: null },
        usage: { input_tokens: 20, output_tokens: 12 },
      };
      return JSON.stringify({ custom_id, result: { type: 'succeeded', message } });
    })
      .map((line) => `${line}\n`)
      .join('');
  }

  /** Answers a request of the page. */
  readonly answer = ({ method, path, body: sent }: Asked, headers: Headers): unknown => {
    const [, , , , id, what] = path.split(/[/?]/);
    if (what === 'results') return new Response(this.lines, { headers: { 'content-type': 'application/x-jsonl' } });
    if (what === 'cancel') this.state = 'ended';
    if (id?.startsWith('msgbatch_')) {
      if (method !== 'DELETE') return this.row;
      this.deleted = true;
      return { id: BATCH_ID, type: 'message_batch_deleted' };
    }
    if (method === 'GET') {
      const data = this.sent.length === 0 || this.deleted ? [] : [this.row];
      return { data, has_more: false, first_id: data[0]?.id ?? null, last_id: data[0]?.id ?? null };
    }
    const body = sent as FakeBatches['sent'][number];
    const { length } = body.requests;
    if (path.includes('dry_run=true'))
      return { requests: length, cost_usd: 0.0123, fits: this.fits, fitting: this.fits ? length : 7 };
    this.keys.push(headers.get('idempotency-key'));
    if (this.failures > 0) {
      this.failures -= 1;
      return refusal(429, 'rate_limit_error', 'Other requests hold this budget. Try again in 3 seconds.');
    }
    this.sent.push(body);
    this.total = length;
    return this.row;
  };
}
