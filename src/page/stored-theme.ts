export const THEME_KEY = 'sluice-theme';
export const THEMES = ['system', 'light', 'dark'] as const;
export type Theme = (typeof THEMES)[number];

/** @returns the theme that was chosen in this browser; the system's where none was */
export function readStoredTheme(): Theme {
  return THEMES.find((name) => name === localStorage.getItem(THEME_KEY)) ?? 'system';
}

export function applyTheme(theme: Theme): void {
  if (theme === 'system') delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
}
