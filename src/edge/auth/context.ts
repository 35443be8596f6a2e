import type { Context } from 'hono';
import type { Settings } from '../config/settings.ts';
import type { BodyMemoryShare } from '../kit/http/body-memory.ts';
import type { RequestLogEntry } from '../kit/http/log.ts';
import type { AccountAndPoolBindings, Bindings } from '../kit/plugins/bindings.ts';
import type { Caller, Identity } from './identity/caller.ts';
import type { Scope } from './identity/identity.ts';

/**
 * A Worker's own function that says who sends a request.
 *
 * If it returns `undefined`, the edge's own credentials decide: a token of SIGNING_SECRET or of the identity provider. In
 * development a request without one is the account `dev`. Everybody else gets a 401. If it throws, the request ends; an
 * ApiError keeps its own status. It is called for every request, so it should cache costly results. Without a `token`, only
 * this function can revoke a caller. A header of your own may be sent to Claude, but `authorization`, `x-api-key`, `cookie`, `cf-*`
 * and `sluice-*` never do, so put your own secret into one of these. If you trust a cookie, check `origin` too.
 *
 * @param request do not read its body; read that of `request.clone()`
 * @param c has what the Worker's own middleware has set, such as `c.get('user')`
 */
export type Authenticate = (request: Request, c: Context<AppEnv>) => Caller | undefined | Promise<Caller | undefined>;

/**
 * The options that a Worker sets for one of its apps. Routes are the same for every app, and read these options from the
 * context.
 */
export interface AppConfig {
  /**
   * Called instead of `fetch` for everything that goes to the Claude API: the binding of a gateway, or a simulator in a test.
   * It should end when `signal` is aborted. The key in its headers is the setting ANTHROPIC_API_KEY.
   */
  fetch?: (url: string, init: RequestInit) => Promise<Response>;
  /**
   * Called first to identify the sender of a request to a private path. Default: tokens of the edge and of the identity
   * provider.
   */
  authenticate?: Authenticate;
  /**
   * Whether requests are neither admitted nor settled.
   *
   * @internal for measurements. Conversations are still metered
   */
  isUnmetered?: boolean;
}

/** What must hold before a route of the edge is called. */
export interface RouteTerms {
  /**
   * The scope that it needs, or several, each of which is enough. `credential`: any scope will do; `signature`: the body must
   * be signed; `nothing`: it is public.
   */
  needs: Scope | readonly Scope[] | 'credential' | 'signature' | 'nothing';
  /**
   * Whether restricted tokens may use it. Then the handler must check their restrictions: the agents, conversations or classifiers
   * that they name.
   */
  openToRestrictedTokens?: true;
  /** Whether its answer is no secret: in development any page may read it. */
  common?: true;
  /**
   * Whether its handler checks, in the same call to the account as its admission, if the credential is revoked. For all other
   * routes this is checked before the handler.
   */
  checksRevocation?: true;
  /**
   * Whether it ends spending or access: it stops, cancels, deletes, revokes or renews. The limit on requests to routes that call no
   * model never rejects it.
   */
  endsSpending?: true;
  /** A limit for each token that replaces the account’s limit on requests to routes that call no model. */
  tokenLimit?: { name: string; requestsPerMinute: number };
  /** Whether it spends money at once, so that it may be refused before its body is read. */
  spends?: true;
}

/** The context of a request for middleware and routes: `c.env` and `c.get(…)`. */
export interface AppEnv {
  Bindings: Bindings;
  Variables: {
    app: AppConfig;
    requestId: string;
    settings: Settings;
    entry: RequestLogEntry;
    /** The memory that its body takes. */
    bodyMemory: BodyMemoryShare;
    /** The terms of the edge's route that answers the request. Absent on other paths, such as those that a Worker adds. */
    route?: RouteTerms;
    /** Absent on a path that a Worker has opened to requests without a credential. */
    identity: Identity;
    /** Whether the path needs no credential, because the Worker has opened it. */
    opened?: boolean;
    /** Whether the path needs a credential, whatever route is there. */
    closed?: boolean;
  };
}

/** The context of a request that its work needs: the caller, how to reach the account, and what keeps background work alive. */
export interface RequestContext {
  requestId: string;
  identity: Identity;
  accounts: AccountAndPoolBindings;
  /** The KV namespace with prefixes, classifiers and the list of accounts. */
  store: KVNamespace;
  settings: Settings;
  /** Keeps background work alive. If the work fails, its error is logged. */
  waitUntil(work: Promise<unknown>): void;
}

export function getRequestContext(c: Pick<Context<AppEnv>, 'get' | 'env'>): RequestContext {
  const entry = c.get('entry');
  return {
    requestId: c.get('requestId'),
    identity: c.get('identity'),
    accounts: c.env,
    store: c.env.STORE,
    settings: c.get('settings'),
    waitUntil: (work) => entry.keepAliveFor(work),
  };
}
