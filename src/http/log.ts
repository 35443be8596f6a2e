/** What one request leaves in the log. Never content, never a credential. */
export interface LogLine {
  request_id: string;
  upstream_request_id?: string | undefined;
  method: string;
  route: string;
  account?: string | undefined;
  conversation?: string | undefined;
  event_id?: string | undefined;
  model?: string | undefined;
  status?: number | undefined;
  error_type?: string | undefined;
  tokens?: { input: number; output: number; cache_read: number; cache_write: number } | undefined;
  cost_usd?: number | undefined;
  ttft_ms?: number | undefined;
  ms?: number | undefined;
  limited_by?: 'account' | 'upstream' | null | undefined;
}

/** The log line of one request while it is being filled: written once, when its last byte is known. */
export class LogEntry {
  readonly line: LogLine;
  /** Resolves when nothing runs any more: a caller that leaves must not end the work half way. */
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

  /** The answer goes on after its headers: `end` must be called once more. */
  begin(): void {
    this.#answering += 1;
  }

  /** The answer has come to an end; the last time writes the line as JSON, whose fields Workers Logs indexes. */
  end(): void {
    this.#answering -= 1;
    if (this.#answering > 0) return;
    this.line.ms = this.elapsed();
    console.log(JSON.stringify(this.line));
    this.#rest();
  }

  /** Keeps the request alive for work that nobody waits for; if it fails, a line of its own says so. */
  during(work: Promise<unknown>): void {
    this.#working += 1;
    work.then(
      () => this.#rest(),
      (thrown: unknown) => {
        logFailure({ request_id: this.line.request_id }, thrown);
        this.#rest();
      },
    );
  }

  #rest(): void {
    this.#working -= 1;
    if (this.#working === 0) this.#close();
  }
}

/** What one run of the work on a webhook's event leaves in the log. Never content. */
export interface WorkLine {
  event_id: string;
  source?: string;
  account?: string;
  /** The classification's, as the ledger has it. */
  request_id?: string;
  /** What became of the event. */
  state?: string;
  model?: string;
  cost_usd?: number;
  error_type?: string | undefined;
  ms?: number;
}

/** Writes the line of a run that no request waits for. */
export function logWork(line: WorkLine): void {
  console.log(JSON.stringify(line));
}

/** Writes a line for work that failed after the answer, or without one: what it belongs to, and why. */
export function logFailure(of: Readonly<Record<string, string>>, thrown: unknown): void {
  const failure = thrown instanceof Error ? thrown.message : 'unknown';
  console.error(JSON.stringify({ ...of, failed_after_answer: failure }));
}
