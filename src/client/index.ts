/** `sluice/client`: a client for browsers, Node, Deno, Bun and Workers. */
export type { BatchCreateOptions, Batches, BatchOptions, BatchWaitOptions } from './batches.ts';
export { type Client, createClient } from './client.ts';
export type { Conversations } from './conversations.ts';
export { SluiceError, type SluiceErrorType } from './errors.ts';
export type { GetToken, RenewingToken } from './renewing-token.ts';
export type * from './requests.ts';
export type { Run, RunnableTool, RunRequest, Step, ToolHandler } from './run.ts';
export type { MessageStream, StreamOptions } from './stream.ts';
export type { Call, ClientOptions, Timeouts } from './transport.ts';
export { type RenewingTokenOptions, renewingToken, type VisitorOptions, visitor } from './visitor.ts';
