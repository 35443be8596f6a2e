import { FORCIBLE_STOP_REASONS } from './answer/answer.ts';
import { ApiError, createInvalidRequestError } from './request/errors.ts';
import { setMostRecent } from './store/set-most-recent.ts';

/**
 * The faults that the request header `sluice-simulate` asks for: entries `name` or `name=value`, separated by `;`, in any
 * order. An unknown name or a value that does not fit is a 400 that names it.
 *
 * | entry | does |
 * |---|---|
 * | `status=529` | answers this error status (400 to 599) in the API's envelope, on any route |
 * | `account=on-hold` | refuses as the API does for an account `on-hold`, or over its `limit`, its `workspace-limit` or its `credit` |
 * | `error-code=organization_on_hold` | with `status`: any code of the API, in `error.details.error_code` |
 * | `retry-after=2`, `retry-after-ms=200`, `should-retry=false` | with `status`: the headers `retry-after` (seconds), `retry-after-ms`, `x-should-retry` |
 * | `network` | no answer: the call rejects with a TypeError, as `fetch` does |
 * | `times=2`, `key=abc` | the whole header counts only for the first 2 requests that send this key (without one: the empty key) |
 * | `slow-start=5000` | the answer, headers too, starts after so many milliseconds |
 * | `ttft=300`, `tps=40` | milliseconds to the first content, tokens per second, in place of the simulator's settings |
 * | `cut-events=3`, `cut-bytes=120` | the body breaks (errors) after exactly so many events or bytes |
 * | `end-events=3`, `end-bytes=120` | the body ends there, as if it were complete |
 * | `silence-after=3` | so many events, then nothing until the caller leaves |
 * | `error-after=3` | so many events, then an `error` event (Overloaded), and the end |
 * | `thinking=800` | so many tokens are thought, and take their time, where the request lets the model think; 0 is none |
 * | `malformed=2` | the data of the nth event (from 1) is broken JSON |
 * | `split=7`, `split=random` | no chunk of the body is longer than so many bytes; 1 to 16, other for each chunk |
 * | `flush` | each event is a chunk of its own, and the next comes in a later turn of the event loop |
 * | `stop-reason=refusal` | ends the answer so: `refusal`, `pause_turn`, `model_context_window_exceeded`, `max_tokens` (all cut it in the middle), `end_turn`; a summary then does not come |
 * | `compaction=unavailable` | answers 529 `compaction_unavailable` where a summary is asked for or sent back; `retry-after` and the others as with `status` |
 * | `compaction=null`, `compaction=delta` | the summary that was asked for fails (`content: null`); is streamed as a delta |
 * | `batch-ms=2000` | how long all items of this new batch take, in place of the simulator's setting |
 * | `downloadable` | the uploaded file can be read again, as if a tool had made it |
 * | `answer=hello%20there` | answers exactly this percent-encoded text; `answer=` answers nothing |
 *
 * A JSON answer is one event here: `cut-bytes=40` cuts it at byte 40, `cut-events=0` before its first byte, `malformed=1`
 * breaks it. Of the results of a batch and the content of a file, only faults that count bytes break anything.
 */
export type RequestedFaults = { [Name in keyof typeof FAULT_PARSERS]?: ReturnType<(typeof FAULT_PARSERS)[Name]> };

const HEADER = 'sluice-simulate';

function createInvalidFaultError(name: string, value: string, expected: string): ApiError {
  return createInvalidRequestError(`${HEADER}: ${name}=${value.slice(0, 100)}: expected ${expected}`);
}

function parseIntegerFault(name: string, value: string, from = 0, to = 1_000_000_000): number {
  const number = /^\d{1,10}$/.test(value) ? Number(value) : Number.NaN;
  if (!(number >= from && number <= to))
    throw createInvalidFaultError(name, value, `a whole number from ${from} to ${to}`);
  return number;
}

function parseErrorCodeFault(name: string, value: string): string {
  if (!/^\w{1,64}$/.test(value)) throw createInvalidFaultError(name, value, 'a code');
  return value;
}

function parseDecimalFault(name: string, value: string): string {
  if (!/^\d{1,10}(\.\d{1,3})?$/.test(value)) throw createInvalidFaultError(name, value, 'a number');
  return value;
}

function parseChoiceFault<const Choice extends string>(
  name: string,
  value: string,
  choices: readonly Choice[],
): Choice {
  const choice = choices.find((entry) => entry === value);
  if (choice === undefined) throw createInvalidFaultError(name, value, `one of ${choices.join(', ')}`);
  return choice;
}

function decodeFaultValue(name: string, value: string): string {
  try {
    return decodeURIComponent(value);
  } catch {
    throw createInvalidFaultError(name, value, 'percent-encoded text');
  }
}

const parseFlagFault = (): true => true;

const FAULT_PARSERS = {
  status: (name: string, value: string) => parseIntegerFault(name, value, 400, 599),
  account: (name: string, value: string) =>
    parseChoiceFault(name, value, ['on-hold', 'limit', 'workspace-limit', 'credit']),
  'error-code': parseErrorCodeFault,
  'retry-after': parseDecimalFault,
  'retry-after-ms': parseDecimalFault,
  'should-retry': (name: string, value: string) => parseChoiceFault(name, value, ['true', 'false']),
  network: parseFlagFault,
  times: parseIntegerFault,
  key: (_: string, value: string) => value,
  'slow-start': parseIntegerFault,
  ttft: parseIntegerFault,
  tps: (name: string, value: string) => Number(parseDecimalFault(name, value)),
  'cut-events': parseIntegerFault,
  'cut-bytes': parseIntegerFault,
  'end-events': parseIntegerFault,
  'end-bytes': parseIntegerFault,
  'silence-after': parseIntegerFault,
  'error-after': parseIntegerFault,
  thinking: parseIntegerFault,
  malformed: (name: string, value: string) => parseIntegerFault(name, value, 1),
  split: (name: string, value: string) => (value === 'random' ? value : parseIntegerFault(name, value, 1)),
  flush: parseFlagFault,
  'stop-reason': (name: string, value: string) => parseChoiceFault(name, value, FORCIBLE_STOP_REASONS),
  compaction: (name: string, value: string) => parseChoiceFault(name, value, ['unavailable', 'null', 'delta']),
  'batch-ms': parseIntegerFault,
  downloadable: parseFlagFault,
  answer: decodeFaultValue,
};

function isFaultName(name: string): name is keyof RequestedFaults {
  return Object.hasOwn(FAULT_PARSERS, name);
}

/**
 * Reads the header's value.
 * @throws ApiError 400 for an entry that is not in the table, or a value that does not fit.
 */
export function parseFaultsHeader(value: string): RequestedFaults {
  const faults: RequestedFaults = {};
  for (const part of value.split(';')) {
    const entry = part.trim();
    if (entry === '') continue;
    const at = entry.indexOf('=');
    const name = at === -1 ? entry : entry.slice(0, at).trimEnd();
    if (!isFaultName(name) || (FAULT_PARSERS[name] === parseFlagFault) !== (at === -1)) {
      throw createInvalidRequestError(`${HEADER}: ${entry.slice(0, 100)}: no such fault`);
    }
    Object.assign(faults, { [name]: FAULT_PARSERS[name](name, entry.slice(at + 1).trimStart()) });
  }
  return faults;
}

/** Counts the requests with each key, for `times`. */
export class LimitedFaultCounter {
  readonly #requestCounts = new Map<string, number>();

  /** @returns the faults of this request: none, if they have been used `times` times already */
  getRemainingFaults(faults: RequestedFaults): RequestedFaults {
    if (faults.times === undefined) return faults;
    const key = faults.key ?? '';
    const seen = this.#requestCounts.get(key) ?? 0;
    setMostRecent(this.#requestCounts, key, seen + 1, 10_000);
    return seen < faults.times ? faults : {};
  }
}

const MESSAGE_BY_STATUS = new Map<number, string>([
  [401, 'invalid x-api-key'],
  [402, 'Your credit balance is too low to access the Anthropic API (simulated).'],
  [403, 'Your API key does not have permission to use the specified resource (simulated).'],
  [408, 'Request timed out (simulated).'],
  [409, 'Conflict (simulated).'],
  [413, 'Request exceeds the maximum size'],
  [429, 'This request would exceed your organization’s rate limit (simulated).'],
  [500, 'Internal server error'],
  [504, 'Request timed out (simulated).'],
  [529, 'Overloaded'],
]);

/** The error messages for accounts that are blocked. */
const ACCOUNT_MESSAGES: Readonly<Record<NonNullable<RequestedFaults['account']>, string>> = {
  'on-hold': 'This organization has been disabled.',
  limit: 'You have reached your specified API usage limits. You will regain access on 2099-01-01 at 00:00 UTC.',
  'workspace-limit':
    'You have reached your specified workspace API usage limits. You will regain access on 2099-01-01 at 00:00 UTC.',
  credit:
    'Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing to upgrade or purchase credits.',
};
const ON_HOLD_DETAILS = { error_code: 'organization_on_hold', appeal_url: 'https://example.com/appeal' };

/** @returns the error that `status` or `account` asks for, if one does */
export function createRequestedStatusError(faults: RequestedFaults): ApiError | undefined {
  const { status, account } = faults;
  if (account !== undefined) {
    return new ApiError(
      400,
      ACCOUNT_MESSAGES[account],
      createRetryHeaders(faults),
      account === 'on-hold' ? ON_HOLD_DETAILS : undefined,
    );
  }
  if (status === undefined) return undefined;
  const { 'error-code': error_code } = faults;
  const details = error_code === undefined ? undefined : { error_code };
  return new ApiError(
    status,
    MESSAGE_BY_STATUS.get(status) ?? `Status ${status} (simulated).`,
    createRetryHeaders(faults),
    details,
  );
}

/** @returns the error of a summary that cannot be made or read just now */
export function createCompactionUnavailableError(faults: RequestedFaults): ApiError {
  const message = 'The compaction could not be completed (simulated). Retry the request.';
  return new ApiError(529, message, createRetryHeaders(faults), { error_code: 'compaction_unavailable' });
}

function createRetryHeaders(faults: RequestedFaults): Record<string, string> {
  const headers = {
    'retry-after': faults['retry-after'],
    'retry-after-ms': faults['retry-after-ms'],
    'x-should-retry': faults['should-retry'],
  };
  const present = Object.entries(headers).filter((entry): entry is [string, string] => entry[1] !== undefined);
  return Object.fromEntries(present);
}
