/**
 * The plugins of this Worker and what they contribute. The core imports no plugin: it reads one member of all registered plugins,
 * in the order of their list.
 */

/**
 * An optional part of the edge: one folder, one object, one line in the list. Its other members are declared where the core reads
 * them; `plugins/plugin.ts` lists them all.
 */
export interface Plugin {
  readonly name: string;
  /** The plugins without which this one does not work. */
  readonly needs?: readonly Plugin[];
}

type PluginMember = Exclude<keyof Plugin, 'name' | 'needs'>;

/** Members that only one plugin may have: with two, the order of the list would decide which of them is read. */
const SINGLE_MEMBERS = [
  'queue',
  'classifyByBatch',
  'agents',
  'guard',
  'sharedBudgets',
  'allAccounts',
  'alertInbox',
  'changeList',
  'failingTasks',
] as const;
type SinglePluginMember = (typeof SINGLE_MEMBERS)[number] & PluginMember;

let registered: readonly Plugin[] | undefined;

/**
 * Registers the plugins of this Worker. Its Durable Objects need them too, and may start without an app.
 *
 * @throws Error if a plugin is missing that another one needs, if two have the same name or the same single member, or if the list
 *   differs from the first one
 */
export function registerPlugins(plugins: readonly Plugin[]): void {
  const differs =
    registered && (registered.length !== plugins.length || registered.some((plugin, at) => plugin !== plugins[at]));
  if (differs)
    throw new Error('createApp was called with different `plugins` in this Worker. Pass the same list to every call.');
  for (const { name, needs = [] } of plugins) {
    if (plugins.filter((one) => one.name === name).length > 1)
      throw new Error(`plugins: two plugins have the name ${name}. Remove one of them.`);
    const missing = needs.find((one) => !plugins.includes(one));
    if (missing) throw new Error(`plugins: ${name} requires ${missing.name}. Add it to the list.`);
  }
  for (const member of SINGLE_MEMBERS) {
    const [one, other] = plugins.filter((plugin) => member in plugin);
    if (other)
      throw new Error(`plugins: ${one?.name} and ${other.name} both provide \`${member}\`. Remove one of them.`);
  }
  // Copy the array: if the caller changes it later, the registered plugins stay the same, and the next `createApp` finds the
  // difference and throws.
  registered = [...plugins];
}

/** @returns a member of the registered plugins that have it, in the order of their list. @param plugin of this one only, by its name */
export function getPluginMembers<M extends PluginMember>(member: M, plugin?: string): NonNullable<Plugin[M]>[] {
  return (registered ?? []).flatMap((one) => {
    const value = plugin === undefined || one.name === plugin ? one[member] : undefined;
    return value === undefined ? [] : [value as NonNullable<Plugin[M]>];
  });
}

/** @returns the member that only one plugin may have; undefined if no registered plugin has it */
export function getSinglePluginMember<M extends SinglePluginMember>(member: M): NonNullable<Plugin[M]> | undefined {
  return getPluginMembers(member)[0];
}

/** @returns a member of the registered plugins that have it, each with the name of its plugin */
export function getPluginMembersWithNames<M extends PluginMember>(
  member: M,
): (readonly [plugin: string, contribution: NonNullable<Plugin[M]>])[] {
  return (registered ?? []).flatMap(({ name }) =>
    getPluginMembers(member, name).map((contribution) => [name, contribution] as const),
  );
}

/** @returns the names of the registered plugins, in the order of their list */
export function getPluginNames(): string[] {
  return (registered ?? []).map(({ name }) => name);
}

/** @returns whether a plugin is registered, by its name */
export function hasPlugin(name: string): boolean {
  return (registered ?? []).some((one) => one.name === name);
}

/**
 * Computes a value from the registered plugins once.
 *
 * @param compute called at the first use, since plugins are registered after modules are loaded
 */
export function memoizeFromPlugins<T>(compute: () => T): () => T {
  let cached: { of: typeof registered; value: T } | undefined;
  return () => {
    if (cached === undefined || cached.of !== registered) cached = { of: registered, value: compute() };
    return cached.value;
  };
}
