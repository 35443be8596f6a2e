import { createGenAiAttributes } from './gen-ai.ts';
import { isolateCounts } from './isolate-counts.ts';
import { maskSecrets } from './secrets.ts';

/** The log line of one request. It never contains content or a credential. */
export interface RequestLogLine {
  request_id: string;
  /** The id of the Worker's version, as `wrangler deployments list` shows it. */
  version?: string | undefined;
  upstream_request_id?: string | undefined;
  /** If there are several upstreams: the name of the one that answered, or was tried last. */
  upstream?: string | undefined;
  method: string;
  route: string;
  account?: string | undefined;
  conversation?: string | undefined;
  /** The agent of the conversation: name@version. */
  agent?: string | undefined;
  /** The model that the agent has chosen, and why, as in the header `sluice-model-chosen`. */
  model_chosen?: string | undefined;
  event_id?: string | undefined;
  /** What an admin has changed. */
  subject?: { type: string; id: string | null } | undefined;
  /** The names of the changed fields. */
  changed?: string[] | undefined;
  model?: string | undefined;
  status?: number | undefined;
  error_type?: string | undefined;
  /** The error by which the upstream has rejected the deployment's key: its status, type and message. */
  upstream_said?: string | undefined;
  tokens?: { input: number; output: number; cache_read: number; cache_write: number } | undefined;
  cost_usd?: number | undefined;
  ttft_ms?: number | undefined;
  /** Milliseconds before it was sent, until its account and its budgets admitted it. */
  waited_ms?: number | undefined;
  ms?: number | undefined;
  /** The owner of the limit that has lowered `max_tokens`, or has set `max_uses`, as in the header `sluice-lowered-by`. */
  lowered_by?: string | undefined;
  limited_by?: 'account' | 'group' | 'deployment' | 'token' | 'run' | 'upstream' | null | undefined;
  'gen_ai.request.model'?: string | undefined;
  'gen_ai.provider.name'?: string | undefined;
}

/** Collects the log line of one request. It is written once, when the answer has ended. */
export class RequestLogEntry {
  readonly line: RequestLogLine;
  /** Resolves when no work of the request runs any more. Even if the caller disconnects, the work must be completed. */
  readonly whenClosed: Promise<void>;
  readonly #startedAt = Date.now();
  #close: () => void = () => {};
  #openResponses = 1;
  #pendingWork = 1;

  constructor(requestId: string, line: Pick<RequestLogLine, 'version' | 'method' | 'route'>) {
    this.line = { request_id: requestId, ...line };
    this.whenClosed = new Promise((resolve) => {
      this.#close = resolve;
    });
  }

  /** @returns milliseconds since the request came. */
  elapsedMs(): number {
    return Date.now() - this.#startedAt;
  }

  /** Records that the response continues after its headers. `endAndWriteLine` must be called one more time. */
  expectLaterEnd(): void {
    this.#openResponses += 1;
  }

  /** Records that the answer has ended. The last call writes the log line, as JSON, so that Workers Logs indexes its fields. */
  endAndWriteLine(): void {
    this.#openResponses -= 1;
    if (this.#openResponses > 0) return;
    this.line.ms = this.elapsedMs();
    isolateCounts.countEndedRequest(this.line);
    console.log(maskSecrets(JSON.stringify({ ...this.line, ...createGenAiAttributes(this.line) })));
    this.#closeIfNoWorkIsPending();
  }

  /** Keeps the request alive for work in the background. If the work fails, a separate line is logged. */
  keepAliveFor(work: Promise<unknown>): void {
    this.#pendingWork += 1;
    work.then(
      () => this.#closeIfNoWorkIsPending(),
      (thrown: unknown) => {
        logBackgroundFailure({ request_id: this.line.request_id }, thrown);
        this.#closeIfNoWorkIsPending();
      },
    );
  }

  #closeIfNoWorkIsPending(): void {
    this.#pendingWork -= 1;
    if (this.#pendingWork === 0) this.#close();
  }
}

/** The log line of one attempt to work on a webhook's event. It never contains content. */
export interface EventWorkLogLine {
  event_id: string;
  source?: string;
  /** As in `RequestLogLine`. */
  version?: string | undefined;
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
export function logEventWork(line: EventWorkLogLine): void {
  console.log(maskSecrets(JSON.stringify(line)));
}

/** Writes a line for work that failed after the answer, or without one. @param subject identifies what the work belongs to */
export function logBackgroundFailure(subject: Readonly<Record<string, string>>, thrown: unknown): void {
  const failure = thrown instanceof Error ? thrown.message : 'unknown';
  console.error(maskSecrets(JSON.stringify({ ...subject, failed_after_answer: failure })));
}

/** The log line of a task that has failed and is repeated by the alarm of its object. It never contains content. */
export interface RetryLogLine {
  object: string;
  task: string;
  /** The class of the error. */
  error: string;
  attempt: number;
  next_try_at: string;
}

/** Writes the line of a failed task that is repeated. */
export function logRetry(line: RetryLogLine): void {
  console.error(maskSecrets(JSON.stringify(line)));
}

/** Writes a line about the settings. */
export function logSettingsWarning(warning: string): void {
  console.warn(JSON.stringify({ warning }));
}
