/** Why an MCP server has not answered as it should. Its message is a sentence for whoever asked, without addresses. */
export class McpFault extends Error {
  override name = 'McpFault';
  /** Whether the same may succeed later, without anybody changing anything. */
  readonly mayPass: boolean;
  /** The HTTP status, where that is the fault. */
  readonly status: number | undefined;

  constructor(message: string, { mayPass = false, status, cause }: McpFaultOptions = {}) {
    super(message, { cause });
    this.mayPass = mayPass;
    this.status = status;
  }
}

interface McpFaultOptions {
  mayPass?: boolean;
  status?: number;
  cause?: unknown;
}

/** Characters of a server's own words that are passed on. */
const MOST_WORDS = 4_000;

/** @returns what a server has said of an error, as a sentence may end with it; anything else as an empty text */
export function wordsOf(said: unknown): string {
  return typeof said === 'string' ? said.slice(0, MOST_WORDS).toWellFormed().trim() : '';
}
