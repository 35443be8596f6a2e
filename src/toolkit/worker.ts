/**
 * What another Worker imports from `sluice`. A list, since a package has one entry: each name is its own module's, so
 * that only what is used is pulled in.
 */
export { type AppOptions, createApp } from '../app.ts';
export { type Authenticate, requireScope } from '../auth/authenticate.ts';
export type { AppEnv } from '../auth/context.ts';
export type { Identity } from '../auth/identity.ts';
export type { Bindings } from '../env.ts';
export { ApiError } from '../errors.ts';
export { Account } from '../objects/account.ts';
export { Conversation } from '../objects/conversation.ts';
export { Inbox } from '../objects/inbox.ts';
export type { Caller, Scope } from '../schemas/identity.ts';
export type { Prices } from '../settings.ts';
export { type ConsumerOptions, createConsumer } from '../webhooks/consume.ts';
export { defineWebhook, type Webhook } from '../webhooks/define.ts';
export type { Deliver } from '../webhooks/deliver.ts';
export { type HmacOptions, hmac } from '../webhooks/hmac.ts';
export { shippedWebhooks } from '../webhooks/shipped.ts';
export type { SignatureScheme, Verify } from '../webhooks/signature.ts';
export { verifyStandard } from '../webhooks/standard.ts';
export * as schemas from './schemas.ts';
