/**
 * Exports what another Worker imports from `sluice`. Only a list of names: a bundler takes only the modules that are used, so the
 * rooms that a Worker names are those that it has.
 */

export type { AppOptions } from '../app.ts';
export { requireScope } from '../auth/authenticate.ts';
export type { AppEnv, Authenticate } from '../auth/context.ts';
export type { Caller, Identity } from '../auth/identity/caller.ts';
export type { Scope } from '../auth/identity/identity.ts';
export type { Prices } from '../claude/models/price-settings.ts';
export { Conversation } from '../conversations/object/conversation.ts';
export { type HmacOptions, hmac } from '../kit/delivery/hmac.ts';
export type { SignatureScheme, Verify } from '../kit/delivery/signature.ts';
export { verifyStandard } from '../kit/delivery/standard-webhooks.ts';
export { ApiError } from '../kit/http/errors.ts';
export type { Bindings } from '../kit/rooms/bindings.ts';
export { Account } from '../money/account/account.ts';
export { agentsRoom } from '../rooms/agents/room.ts';
export { Batch } from '../rooms/batches/batch.ts';
export { batchesRoom } from '../rooms/batches/room.ts';
export { cloudsRoom } from '../rooms/clouds/room.ts';
export { evaluationRoom } from '../rooms/evaluation/room.ts';
export { filesRoom } from '../rooms/files/room.ts';
export { operatorRoom } from '../rooms/operator/room.ts';
export { Pool } from '../rooms/pools/pool.ts';
export { poolsRoom } from '../rooms/pools/room.ts';
export type { Room } from '../rooms/room.ts';
export { runsRoom } from '../rooms/runs/room.ts';
export type { ToolContext, ToolSchema, WorkerTool, WorkerTools } from '../rooms/runs/tools/worker-tools.ts';
export { summariesRoom } from '../rooms/summaries/room.ts';
export { transferRoom } from '../rooms/transfer/room.ts';
export { visitorsRoom } from '../rooms/visitors/room.ts';
export { Inbox } from '../rooms/webhooks/inbox/inbox.ts';
export { webhooksRoom } from '../rooms/webhooks/room.ts';
export { shippedWebhooks } from '../rooms/webhooks/shipped-sources.ts';
export { type Deliver, defineWebhook, type Webhook } from '../rooms/webhooks/sources/define-webhook.ts';
export { type ConsumerOptions, createConsumer } from '../rooms/webhooks/webhook-job.ts';
export { ROOMS as allRooms } from '../rooms.ts';
export { createApp } from './create-app.ts';
export * as schemas from './schemas.ts';
