/**
 * Exports what another Worker imports from `sluice`. Only a list of names: a bundler takes only the modules that are used.
 */

export { Account } from '../accounts/account.ts';
export { type AppOptions, createApp } from '../app.ts';
export { type Authenticate, requireScope } from '../auth/authenticate.ts';
export type { AppEnv } from '../auth/context.ts';
export { Batch } from '../batches/batch.ts';
export { BatchClaims } from '../batches/claims.ts';
export { ClassificationJob } from '../classifications/classification-job.ts';
export { Conversation } from '../conversations/conversation.ts';
export type { Deliver } from '../delivery/deliver.ts';
export { type HmacOptions, hmac } from '../delivery/hmac.ts';
export type { SignatureScheme, Verify } from '../delivery/signature.ts';
export { verifyStandard } from '../delivery/standard-webhooks.ts';
export type { Bindings } from '../durable/bindings.ts';
export { ApiError } from '../http/errors.ts';
export type { Caller, Identity } from '../identity/caller.ts';
export type { Scope } from '../identity/identity.ts';
export { Pool } from '../pools/pool.ts';
export type { Prices } from '../settings/price-settings.ts';
export type { ToolContext, ToolSchema, WorkerTool, WorkerTools } from '../tools/worker-tools.ts';
export { Inbox } from '../webhooks/inbox/inbox.ts';
export { defineWebhook, type Webhook } from '../webhooks/sources/define-webhook.ts';
export { shippedWebhooks } from '../webhooks/sources/shipped.ts';
export { type ConsumerOptions, createConsumer } from '../webhooks/webhook-job.ts';
export * as schemas from './schemas.ts';
