// What OHIF is told; served as /ohif/app-config.js, before its own scripts. `make viewer` fetches OHIF.
window.PUBLIC_URL = '/ohif/';
window.browserImportFunction = name => import(name);

// What of it is shown, for the verdict bar (viewer-bar.js, in the same file).
const vigieResult = { segmentationId: null };

// Looks again and again until something is found; for two minutes.
const until = (found, then, orElse = () => {}, giveUpAt = Date.now() + 120000) => {
  const got = found();
  if (got) then(got);
  else if (Date.now() < giveUpAt) setTimeout(() => until(found, then, orElse, giveUpAt), 150);
  else orElse();
};

// Started behind the work list, OHIF waits for the study that it shall open (viewer-frame.js).
const waiting = {
  id: 'vigie.waiting',
  preRegistration({ commandsManager }) {
    if (location.pathname !== '/ohif/waiting') return;
    const isStarted = () => document.getElementById('root')?.hasChildNodes();
    until(isStarted, () => {
      window.vigieOpen = address => {
        const { pathname, search } = new URL(address);
        askEarly(new URLSearchParams(search));
        commandsManager.run('navigateHistory', { to: pathname.replace('/ohif', '') + search, options: { replace: true } });
      };
    });
  },
};

// Has the browser ask for what OHIF will, while it still asks what series there are. Of a page of its own, the server does.
const askEarly = asked => {
  const study = `/dicomweb/studies/${asked.get('StudyInstanceUIDs')}`;
  for (const series of [asked.get('initialSeriesInstanceUID'), asked.get('seg')].filter(Boolean)) {
    const href = `${study}/series/${series}/metadata`;
    document.head.append(Object.assign(document.createElement('link'), { rel: 'preload', as: 'fetch', crossOrigin: 'anonymous', href }));
  }
};

// Opens a result: shows the analysed series, and once it is drawn, lays the segmentation over it, as a double-click on its
// thumbnail would, and goes to a lesion. (Never by initialSeriesInstanceUID of the segmentation: OHIF then can leave the image
// at its first slice while overlay and slice number go on.)
const openResult = {
  id: 'vigie.open-result',
  onModeEnter({ servicesManager, commandsManager }) {
    const asked = new URLSearchParams(location.search);
    const seg = asked.get('seg');
    if (!seg) return;
    const {
      cornerstoneViewportService, displaySetService, hangingProtocolService, panelService, segmentationService, viewportGridService,
    } = servicesManager.services;

    const drawn = id => {
      const viewport = id && cornerstoneViewportService.getCornerstoneViewport(id);
      return Boolean(viewport && viewport.viewportStatus === 'rendered' && viewport.getImageData());
    };
    const giveUp = () => (document.documentElement.dataset.vigieResult = 'not shown');

    document.documentElement.dataset.vigieResult = 'loading';
    until(
      () => {
        const id = viewportGridService.getActiveViewportId();
        const overlay = displaySetService.getActiveDisplaySets().find(one => one.SeriesInstanceUID === seg);
        return overlay && drawn(id) && { id, overlay };
      },
      ({ id, overlay }) => {
        const viewportsToUpdate = hangingProtocolService.getViewportsRequireUpdate(id, overlay.displaySetInstanceUID);
        commandsManager.run('setDisplaySetsForViewports', { viewportsToUpdate });
        until(
          () => drawn(id) && segmentationService.getSegmentationRepresentations(id)[0],
          shown => {
            const segment = Number(asked.get('segment') || 1);
            vigieResult.segmentationId = shown.segmentationId;
            segmentationService.setActiveSegment(shown.segmentationId, segment);
            segmentationService.jumpToSegmentCenter(shown.segmentationId, segment, id);
            const panel = panelService.getPanels('right').find(one => one.id.includes('egmentation'));
            if (panel) panelService.activatePanel(panel.id, true);
            document.documentElement.dataset.vigieResult = 'shown';
          },
          giveUp
        );
      },
      giveUp
    );
  },
};

// OHIF's own keys that ours take the place of; there they are with Shift.
const TAKEN = { a: 'shift+a', n: 'shift+n', r: 'shift+r' };
const moved = bindings => bindings.map(one => ({ ...one, keys: one.keys.map(key => TAKEN[key] ?? key) }));

// Where studies come from: everybody's, and at /ohif/viewer/training a learner's cases, without patient identity.
const source = (sourceName, root) => ({
  namespace: '@ohif/extension-default.dataSourcesModule.dicomweb',
  sourceName,
  configuration: {
    friendlyName: 'Vigie',
    name: sourceName,
    qidoRoot: location.origin + root,
    wadoRoot: location.origin + root,
    qidoSupportsIncludeField: true,
    supportsFuzzyMatching: false,
    supportsWildcard: true,
    imageRendering: 'wadors',
    thumbnailRendering: 'wadors',
    enableStudyLazyLoad: true,
    staticWado: false,
    singlepart: 'bulkdata,video',
    bulkDataURI: { enabled: true, relativeResolution: 'studies' },
    omitQuotationForMultipartRequest: true,
  },
});

// Opens a report of Vigie's as its text. Else OHIF draws the lines of a measurement report on the image and tells none of its
// words; of a report whose lesions are segments it shows a black viewport. References, which are no words, are left out.
const readReports = {
  id: 'vigie.read-reports',
  onModeEnter({ servicesManager }) {
    const { displaySetService } = servicesManager.services;
    const list = items => (items ? [items].flat() : []);
    const isRead = ({ ValueType, ConceptNameCodeSequence: name }) =>
      ['TEXT', 'CODE', 'NUM', 'CONTAINER'].includes(ValueType) && list(name)[0]?.CodeMeaning !== 'Image Library';
    const words = item => ({ ...item, ContentSequence: list(item.ContentSequence).filter(isRead).map(words) });
    const asText = sets => {
      for (const one of sets) {
        if (!one.isImagingMeasurementReport || one.instance.Manufacturer !== 'Vigie') continue;
        one.isImagingMeasurementReport = false;
        one.instances = [words(one.instance)];
      }
    };
    displaySetService.subscribe(displaySetService.EVENTS.DISPLAY_SETS_ADDED, added => asText(added.displaySetsAdded));
  },
};

window.config = {
  name: 'vigie',
  routerBasename: '/ohif',
  extensions: [waiting, openResult, readReports, vigieBar],
  modes: [],
  customizationService: [{ 'ohif.tours': { $set: [] }, 'ohif.hotkeyBindings': { $apply: moved } }],
  showStudyList: false,
  showPatientInfo: 'visible', // whose images these are is never folded away
  showLoadingIndicator: true,
  showCPUFallbackMessage: true,
  showWarningMessageForCrossOrigin: true,
  showErrorDetails: 'production',
  strictZSpacingForVolumeViewport: true,
  maxNumberOfWebWorkers: 3,
  maxNumRequests: { interaction: 100, thumbnail: 5, prefetch: 10 },
  // what is opened is said by our own link, and a question in between would stand before the evidence
  disableConfirmationPrompts: true,
  investigationalUseDialog: { option: 'configure', days: 30 },
  defaultDataSourceName: 'vigie',
  dataSources: [source('vigie', '/dicomweb'), source('training', '/training/dicomweb')],
  httpErrorHandler: error => console.warn('DICOMweb answered', error.status),
};
