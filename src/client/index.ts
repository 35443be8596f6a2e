/** `sluice/client`: a client for browsers, Node, Deno, Bun and Workers. */
export type { BatchCreateOptions, BatchesClient, BatchOptions, BatchWaitOptions } from './batches.ts';
export { type Client, createClient } from './client.ts';
export type { ConversationsClient } from './conversations.ts';
export { SluiceError, type SluiceErrorType } from './errors.ts';
export type { GetToken, RenewingToken } from './renewing-token.ts';
export type * from './requests.ts';
export type { Run, RunnableTool, RunRequest, RunStep, ToolHandler } from './run.ts';
export type { MessageStream, MessageStreamOptions } from './stream.ts';
export type { ClientOptions, ClientTimeouts, RouteCallOptions } from './transport.ts';
export { type RenewingTokenOptions, renewingToken, type VisitorOptions, visitor } from './visitor.ts';
