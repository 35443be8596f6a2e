/** What one request leaves in the log. Never content, never a credential. */
export interface LogLine {
  request_id: string;
  upstream_request_id?: string | undefined;
  method: string;
  route: string;
  account?: string | undefined;
  conversation?: string | undefined;
  model?: string | undefined;
  status?: number | undefined;
  error_type?: string | undefined;
  tokens?: { input: number; output: number; cache_read: number; cache_write: number } | undefined;
  cost_usd?: number | undefined;
  ttft_ms?: number | undefined;
  ms?: number | undefined;
  limited_by?: 'account' | 'upstream' | null | undefined;
}

/** The log line of one request while it is being filled: written once, when everything that is still running has ended. */
export class LogEntry {
  readonly line: LogLine;
  readonly #started = Date.now();
  #running = 1;

  constructor(requestId: string, method: string, route: string) {
    this.line = { request_id: requestId, method, route };
  }

  /** @returns milliseconds since the request came. */
  elapsed(): number {
    return Date.now() - this.#started;
  }

  /** Something goes on after the headers have been answered: it must call `end` as well. */
  begin(): void {
    this.#running += 1;
  }

  /** Ends one of the things that run; the last one writes the line as JSON, whose fields Workers Logs indexes. */
  end(): void {
    this.#running -= 1;
    if (this.#running > 0) return;
    this.line.ms = this.elapsed();
    console.log(JSON.stringify(this.line));
  }
}
