/** Thrown if an MCP server does not answer as it should. Its message is a sentence for the caller, without addresses. */
export class McpFault extends Error {
  override name = 'McpFault';
  /** Whether the same may succeed later without any change. */
  readonly mayPass: boolean;
  /** The HTTP status, if that is the fault. */
  readonly status: number | undefined;
  /** The code of the JSON-RPC error, if that is the fault. */
  readonly code: unknown;

  constructor(
    message: string,
    {
      mayPass = false,
      status,
      code,
      cause,
    }: { mayPass?: boolean; status?: number; code?: unknown; cause?: unknown } = {},
  ) {
    super(message, { cause });
    this.mayPass = mayPass;
    this.status = status;
    this.code = code;
  }
}

/** Characters of a server's own words that are passed on. */
const MOST_WORDS = 4_000;

/** @returns a server's own words about an error, as the end of a sentence; empty if it sent no text */
export function formatServerMessage(value: unknown): string {
  return typeof value === 'string' ? value.slice(0, MOST_WORDS).toWellFormed().trim() : '';
}
