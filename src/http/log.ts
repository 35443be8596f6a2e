import { masked } from './secrets.ts';

/** The log line of one request. It never has content or a credential in it. */
export interface LogLine {
  request_id: string;
  upstream_request_id?: string | undefined;
  /** Where there are several: the name of the one that answered, or was tried last. */
  upstream?: string | undefined;
  method: string;
  route: string;
  account?: string | undefined;
  conversation?: string | undefined;
  /** The agent of the conversation: name@version. */
  agent?: string | undefined;
  event_id?: string | undefined;
  model?: string | undefined;
  status?: number | undefined;
  error_type?: string | undefined;
  /** With what the upstream has refused the deployment's key: its status, type and message. */
  upstream_said?: string | undefined;
  tokens?: { input: number; output: number; cache_read: number; cache_write: number } | undefined;
  cost_usd?: number | undefined;
  ttft_ms?: number | undefined;
  ms?: number | undefined;
  limited_by?: 'account' | 'group' | 'deployment' | 'token' | 'run' | 'upstream' | null | undefined;
}

/** The log line of one request while it is filled. It is written once, when the answer has ended. */
export class LogEntry {
  readonly line: LogLine;
  /** Resolves when no work of the request runs any more: if the caller leaves, the work must still come to its end. */
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

  /** Says that the answer goes on after its headers: `end` must be called once more. */
  begin(): void {
    this.#answering += 1;
  }

  /** Says that the answer has ended. The last call writes the line as JSON, so that Workers Logs indexes its fields. */
  end(): void {
    this.#answering -= 1;
    if (this.#answering > 0) return;
    this.line.ms = this.elapsed();
    console.log(masked(JSON.stringify(this.line)));
    this.#leave();
  }

  /** Keeps the request alive for work that nobody waits for; if it fails, a line of its own says so. */
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

/** The log line of one try to work on a webhook's event. It never has content in it. */
export interface WorkLine {
  event_id: string;
  source?: string;
  account?: string;
  /** The request id of the classification, as it stands in the ledger. */
  request_id?: string;
  /** What became of the event. */
  state?: string;
  model?: string;
  cost_usd?: number;
  error_type?: string | undefined;
  ms?: number;
}

/** Writes the line of work that no request waits for. */
export function logWork(line: WorkLine): void {
  console.log(masked(JSON.stringify(line)));
}

/** Writes a line for work that failed after the answer, or without one. It says to what the work belongs, and why it failed. */
export function logFailure(of: Readonly<Record<string, string>>, thrown: unknown): void {
  const failure = thrown instanceof Error ? thrown.message : 'unknown';
  console.error(masked(JSON.stringify({ ...of, failed_after_answer: failure })));
}
