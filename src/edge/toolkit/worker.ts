/**
 * Exports what another Worker imports from `sluice`. Only a list of names: a bundler takes only the modules that are used, so the
 * plugins that a Worker names are those that it has.
 */

export type { AppOptions } from '../app.ts';
export { requireScope } from '../auth/authenticate.ts';
export type { AppEnv, Authenticate } from '../auth/context.ts';
export type { Caller, Identity } from '../auth/identity/caller.ts';
export type { Scope } from '../auth/identity/identity.ts';
export type { Prices } from '../claude/models/price-settings.ts';
export { Conversation } from '../conversations/object/conversation.ts';
export { type HmacOptions, hmac } from '../kit/delivery/hmac.ts';
export type { SignatureScheme, VerifySignature } from '../kit/delivery/signature.ts';
export { verifyStandard } from '../kit/delivery/standard-webhooks.ts';
export { ApiError } from '../kit/http/errors.ts';
export type { Bindings } from '../kit/plugins/bindings.ts';
export { Account } from '../money/account/account.ts';
export { agents } from '../plugins/agents/plugin.ts';
export { Batch } from '../plugins/batches/batch.ts';
export { batches } from '../plugins/batches/plugin.ts';
export { clouds } from '../plugins/clouds/plugin.ts';
export { evaluation } from '../plugins/evaluation/plugin.ts';
export { files } from '../plugins/files/plugin.ts';
export { operator } from '../plugins/operator/plugin.ts';
export type { Plugin } from '../plugins/plugin.ts';
export { pools } from '../plugins/pools/plugin.ts';
export { Pool } from '../plugins/pools/pool.ts';
export { runs } from '../plugins/runs/plugin.ts';
export type { ToolContext, ToolSchema, WorkerTool, WorkerTools } from '../plugins/runs/tools/worker-tools.ts';
export { summaries } from '../plugins/summaries/plugin.ts';
export { transfer } from '../plugins/transfer/plugin.ts';
export { visitors } from '../plugins/visitors/plugin.ts';
export { Inbox } from '../plugins/webhooks/inbox/inbox.ts';
export { webhooks } from '../plugins/webhooks/plugin.ts';
export { shippedWebhooks } from '../plugins/webhooks/shipped-sources.ts';
export { type Deliver, defineWebhook, type Webhook } from '../plugins/webhooks/sources/define-webhook.ts';
export { PLUGINS as allPlugins } from '../plugins.ts';
export { createApp } from './create-app.ts';
export { defineRoute, type RouteDefinition } from './define-route.ts';
export * as schemas from './schemas.ts';
