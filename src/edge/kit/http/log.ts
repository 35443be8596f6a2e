import { genAiOf } from './gen-ai.ts';
import { isolateCounts } from './isolate-counts.ts';
import { masked } from './secrets.ts';

/** The log line of one request. It never contains content or a credential. */
export interface LogLine {
  request_id: string;
  upstream_request_id?: string | undefined;
  /** If there are several upstreams: the name of the one that answered, or was tried last. */
  upstream?: string | undefined;
  method: string;
  route: string;
  account?: string | undefined;
  conversation?: string | undefined;
  /** The agent of the conversation: name@version. */
  agent?: string | undefined;
  /** The model that the agent has chosen, and why, as the header `sluice-model-chosen` says it. */
  model_chosen?: string | undefined;
  event_id?: string | undefined;
  model?: string | undefined;
  status?: number | undefined;
  error_type?: string | undefined;
  /** With what the upstream has refused the deployment's key: its status, type and message. */
  upstream_said?: string | undefined;
  tokens?: { input: number; output: number; cache_read: number; cache_write: number } | undefined;
  cost_usd?: number | undefined;
  ttft_ms?: number | undefined;
  /** Milliseconds before it was sent, until its account and its budgets admitted it. */
  waited_ms?: number | undefined;
  ms?: number | undefined;
  /** Whose limit has lowered `max_tokens`, as the header `sluice-lowered-by` says it. */
  lowered_by?: string | undefined;
  limited_by?: 'account' | 'group' | 'deployment' | 'token' | 'run' | 'upstream' | null | undefined;
  'gen_ai.request.model'?: string | undefined;
  'gen_ai.provider.name'?: string | undefined;
}

/** Collects the log line of one request. It is written once, when the answer has ended. */
export class LogEntry {
  readonly line: LogLine;
  /** Resolves when no work of the request runs any more. Even if the caller leaves, the work must come to its end. */
  readonly closed: Promise<void>;
  readonly #started = Date.now();
  #close: () => void = () => {};
  #answering = 1;
  #working = 1;

  constructor(requestId: string, method: string, route: string) {
    this.line = { request_id: requestId, method, route };
    this.closed = new Promise((resolve) => {
      this.#close = resolve;
    });
  }

  /** @returns milliseconds since the request came. */
  elapsed(): number {
    return Date.now() - this.#started;
  }

  /** Notes that the answer goes on after its headers. `end` must be called one more time. */
  begin(): void {
    this.#answering += 1;
  }

  /** Notes that the answer has ended. The last call writes the log line, as JSON, so that Workers Logs indexes its fields. */
  end(): void {
    this.#answering -= 1;
    if (this.#answering > 0) return;
    this.line.ms = this.elapsed();
    isolateCounts.ended(this.line);
    console.log(masked(JSON.stringify({ ...this.line, ...genAiOf(this.line) })));
    this.#leave();
  }

  /** Keeps the request alive for work that nobody waits for. If the work fails, a separate line says so. */
  during(work: Promise<unknown>): void {
    this.#working += 1;
    work.then(
      () => this.#leave(),
      (thrown: unknown) => {
        logFailure({ request_id: this.line.request_id }, thrown);
        this.#leave();
      },
    );
  }

  #leave(): void {
    this.#working -= 1;
    if (this.#working === 0) this.#close();
  }
}

/** The log line of one attempt to work on a webhook's event. It never contains content. */
export interface WorkLine {
  event_id: string;
  source?: string;
  account?: string;
  /** The request id of the work in the ledger. */
  request_id?: string;
  /** The state of the event after the attempt. */
  state?: string;
  model?: string;
  cost_usd?: number;
  error_type?: string | undefined;
  ms?: number;
}

/** Writes the line of work on an event. */
export function logWork(line: WorkLine): void {
  console.log(masked(JSON.stringify(line)));
}

/** Writes a line for work that failed after the answer, or without one. @param of says to what the work belongs */
export function logFailure(of: Readonly<Record<string, string>>, thrown: unknown): void {
  const failure = thrown instanceof Error ? thrown.message : 'unknown';
  console.error(masked(JSON.stringify({ ...of, failed_after_answer: failure })));
}

/** The log line of a task that has failed and is repeated by the alarm of its object. It never contains content. */
export interface RetryLine {
  object: string;
  task: string;
  /** The class of the error. */
  error: string;
  attempt: number;
  next_try_at: string;
}

/** Writes the line of a failed task that is repeated. */
export function logRetry(line: RetryLine): void {
  console.error(masked(JSON.stringify(line)));
}

/** Writes a line about the settings. */
export function logWarning(warning: string): void {
  console.warn(JSON.stringify({ warning }));
}
