/** The paths of all routes, written from these by `npx vitest run test/documents.test.ts --update`. Only types. */

type Path =
  | '/accounts'
  | '/accounts/:id'
  | '/accounts/:id/backup'
  | '/accounts/:id/block'
  | '/accounts/:id/conversations'
  | '/accounts/:id/conversations/:conversation/backup'
  | '/accounts/:id/credit'
  | '/accounts/:id/erasure'
  | '/accounts/:id/export'
  | '/accounts/:id/limits'
  | '/accounts/:id/tokens'
  | '/accounts/:id/tokens/:jti'
  | '/agents'
  | '/agents/:name'
  | '/agents/:name/versions'
  | '/agents/:name/versions/:hash'
  | '/alerts'
  | '/changes'
  | '/classifications/:id'
  | '/classifications/:id/cancel'
  | '/classifications/:id/results'
  | '/classifiers'
  | '/classifiers/:name'
  | '/classifiers/:name/evaluate'
  | '/classifiers/:name/versions'
  | '/classifiers/:name/versions/:hash'
  | '/classify'
  | '/conversations'
  | '/conversations/:id'
  | '/conversations/:id/approvals'
  | '/conversations/:id/approvals/:approval'
  | '/conversations/:id/export'
  | '/conversations/:id/fork'
  | '/conversations/:id/messages'
  | '/conversations/:id/rewind'
  | '/conversations/:id/stop'
  | '/conversations/:id/stream'
  | '/conversations/:id/turns/:turn'
  | '/count-tokens'
  | '/erasures'
  | '/groups'
  | '/groups/:id'
  | '/groups/:id/accounts'
  | '/groups/:id/accounts/:account'
  | '/groups/:id/backup'
  | '/groups/:id/limits'
  | '/health'
  | '/messages'
  | '/metrics'
  | '/models'
  | '/models/:id'
  | '/openapi.json'
  | '/overview'
  | '/pools/deployment'
  | '/pools/deployment/backup'
  | '/pools/deployment/limits'
  | '/prefixes'
  | '/prefixes/:name'
  | '/prefixes/:name/versions'
  | '/prefixes/:name/versions/:hash'
  | '/tokens'
  | '/tokens/:jti'
  | '/tokens/renew'
  | '/tokens/visitor'
  | '/usage'
  | '/usage/requests'
  | '/usage/requests/:request_id'
  | '/v1/files'
  | '/v1/files/:id'
  | '/v1/files/:id/content'
  | '/v1/messages'
  | '/v1/messages/batches'
  | '/v1/messages/batches/:id'
  | '/v1/messages/batches/:id/cancel'
  | '/v1/messages/batches/:id/results'
  | '/v1/messages/count_tokens'
  | '/v1/models'
  | '/v1/models/:id'
  | '/versions/:kind'
  | '/versions/:kind/:version/backup'
  | '/webhooks'
  | '/webhooks/:source'
  | '/webhooks/:source/events'
  | '/webhooks/:source/events/:id'
  | '/webhooks/:source/events/:id/replay'
  | '/webhooks/:source/events/replay';

/** A part of a path that is escaped. */
export type EscapedPathSegment = string & { readonly '~segment': true };

/** A path with escaped parts in place of its names. */
type PathWithSegmentsFilledIn<P extends string> = P extends `${infer Before}:${string}/${infer After}`
  ? `${Before}${EscapedPathSegment}/${PathWithSegmentsFilledIn<After>}`
  : P extends `${infer Before}:${string}`
    ? `${Before}${EscapedPathSegment}`
    : P;

/** What the edge serves: a path that no route has does not compile. */
export type ServedRoutePath = PathWithSegmentsFilledIn<Path>;

/** What stands in paths behind one that they have in common. */
export type PathRemainderBelow<P extends string, All extends string = Path> = All extends `${P}${infer Rest}`
  ? PathWithSegmentsFilledIn<Rest>
  : never;
